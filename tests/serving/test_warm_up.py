"""The token budget is what was measured to be fastest, and the smallest of equals."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from packaging_inputs import sanity_config
from starlette.testclient import TestClient

from model.batch import TranscriptInput
from serving.backends import Memory
from serving.memory import available_bytes, peak_growth_bytes
from serving.warm_up import ALONE, largest_tokens, measure_budget, measure_safe_budget, typical_transcripts


@pytest.mark.parametrize(
    ("seconds_of", "expected"),
    [
        ({ALONE: 0.02}, ALONE),  # all budgets alike: the smallest
        ({ALONE: 0.08, 1024: 0.06, 2048: 0.04, 4096: 0.02, 8192: 0.04}, 4096),
        ({ALONE: 0.02, 1024: 0.05}, ALONE),
    ],
)
def test_the_fastest_budget_is_chosen(seconds_of: dict[int, float], expected: int) -> None:
    tried = []

    def run(transcripts: Sequence[TranscriptInput], budget: int) -> None:
        if len(transcripts) > 1:
            tried.append(budget)
            time.sleep(seconds_of.get(budget, 0.02))

    assert measure_budget(run, sanity_config(), None) == expected
    assert tried == sorted(tried)


def test_budgets_that_exhaust_memory_are_not_chosen() -> None:
    def run(transcripts: Sequence[TranscriptInput], budget: int) -> None:
        if budget > 1024:
            raise MemoryError
        time.sleep(0.03 if budget == ALONE else 0.01)

    assert measure_budget(run, sanity_config(), None) == 1024


def test_typical_transcripts_share_windows_two_and_two() -> None:
    transcripts = typical_transcripts(sanity_config(), None)
    windows = {item.dna.tobytes() for item in transcripts if item.dna is not None}
    assert len(transcripts) == 2 * len(windows)


def test_the_measured_budget_is_told_and_a_given_one_is_kept(start: Any) -> None:
    client: TestClient = start()
    (line,) = [line for line in client.get("/metrics").text.splitlines() if line.startswith("isoformer_budget_tokens")]
    assert float(line.split()[-1]) >= ALONE
    assert "isoformer_budget_tokens 777.0" in start(budget_tokens=777).get("/metrics").text


def test_the_safe_budget_follows_from_memory_and_deadline() -> None:
    """As many of the longest as fit half the free memory and half the deadline; at the least one alone."""
    config = sanity_config()
    asked: list[int] = []

    def run(transcripts: Sequence[TranscriptInput], budget: int) -> None:
        asked.append(len(transcripts[0].rna or ""))
        time.sleep(0.05)

    def grown(to_run: Any) -> int:
        to_run()
        return 100

    roomy, tight = Memory(grown, lambda: 1_000), Memory(grown, lambda: 150)
    assert measure_safe_budget(run, config, 1e6, roomy) == 5 * largest_tokens(config)
    assert measure_safe_budget(run, config, 0.01, roomy) == ALONE
    assert measure_safe_budget(run, config, 1e6, tight) == ALONE
    assert config.rna is not None
    assert set(asked) == {6 * config.rna.max_tokens}


def test_no_budget_above_the_safe_one_is_tried() -> None:
    tried = []

    def run(transcripts: Sequence[TranscriptInput], budget: int) -> None:
        tried.append(budget)
        time.sleep(0.1 / budget)

    assert measure_budget(run, sanity_config(), None, safe_tokens=3_000) <= 3_000
    assert max(tried) <= 3_000


def test_growth_is_what_a_run_needed_at_its_peak(tmp_path: Path) -> None:
    """Memory that is given back before the end counts too; a container's limit counts before the machine's."""
    held = peak_growth_bytes(lambda: len(bytearray(b"\1" * 60_000_000)))
    assert 40e6 < held < 400e6
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    assert available_bytes(tmp_path) == 3_000
    (tmp_path / "memory.max").write_text("max\n")
    assert (available_bytes(tmp_path) or 0) > 1e6
