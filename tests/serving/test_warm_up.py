"""The token budget is what was measured to be fastest, and the smallest of equals."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from packaging_inputs import sanity_config
from starlette.testclient import TestClient

from model.batch import TranscriptInput
from serving.warm_up import ALONE, measure_budget, typical_transcripts


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
