"""`isoformer estimate` says what a training takes, or what is wrong with the question."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from model.presets import preset
from tests.pipelines.test_command_line import call


def test_a_preset_is_estimated_with_its_assumptions() -> None:
    done = call("estimate", "--preset", "sanity", "--gpu", "l4", "--usd-per-hour", "2", "--count", "36000")
    assert done.returncode == 0, done.stderr
    assert "97,390 parameters" in done.stdout
    assert "36,000 transcripts per epoch" in done.stdout
    assert "not measured on this device" in done.stdout
    found = re.search(r"([\d.e+-]+) device hours, ([\d.]+) USD at 2.00", done.stdout)
    assert found is not None
    assert float(found[2]) == pytest.approx(2 * float(found[1]), abs=0.01)


def test_a_configuration_and_extracted_transcripts_are_read(tmp_path: Path, transcripts: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(preset("sanity").to_dict()))
    done = call("estimate", "--config", path, "--gpu", "cpu", "--transcripts", transcripts, "--micro-batch", "16")
    assert done.returncode == 0, done.stderr
    assert "scaled by a real step" in done.stdout
    assert str(transcripts) in done.stdout


def test_a_recipe_is_estimated_with_what_it_freezes_and_for_all_its_epochs(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    towers = "{dna: {trainable: none}, rna: {trainable: lora}}"
    path.write_text(
        f"model: {{preset: sanity}}\ntrain: {{max_epochs: 7, budget: {{transcripts: 4}}, towers: {towers}}}\n"
    )
    done = call("estimate", "--recipe", path, "--gpu", "l4", "--usd-per-hour", "2")
    assert done.returncode == 0, done.stderr
    everything, trained = (
        int(text.replace(",", ""))
        for text in re.findall(r"([\d,]+) parameters, ([\d,]+) of them trained", done.stdout)[0]
    )
    assert everything > 97_390, "the low-rank terms come on top"
    assert trained < everything / 2
    assert "per micro-batch of 4" in done.stdout
    epoch = re.search(r"epoch +([\d.e+-]+) device hours", done.stdout)
    whole = re.search(r"at most 7 epochs in steps of 64 transcripts: ([\d.e+-]+) device hours", done.stdout)
    assert epoch is not None
    assert whole is not None
    assert float(whole[1]) == pytest.approx(7 * float(epoch[1]), rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "either --preset or --config, found neither"),
        (("--preset", "huge"), "expected one of isoformer"),
        (("--preset", "paper"), "Give --recipe paper"),
        (("--recipe", "papre"), "--recipe: expected a params.yaml, or one of paper"),
        (("--recipe", "nowhere.yaml"), "no such file"),
        (("--recipe", "paper", "--preset", "sanity"), "Give --recipe alone"),
        (("--preset", "sanity", "--gpu", "tpu"), "h200, h100, a100"),
        (("--preset", "sanity", "--precision", "int4"), "fp32, bf16"),
        (("--preset", "sanity", "--efficiency", "60"), "above 0, at most 1"),
        (("--preset", "sanity", "--micro-batch", "0"), "at least 1"),
        (("--preset", "sanity", "--transcripts", "nowhere"), "no transcripts.parquet"),
        (("--config", "nowhere.json"), "a model's config.json"),
    ],
)
def test_a_wrong_question_is_one_line_and_status_2(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = call("estimate", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
