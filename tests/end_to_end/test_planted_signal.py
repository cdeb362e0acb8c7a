"""The verdict follows the data: no signal, no blessing; no RNA effect, no RNA contribution.

Simulated data at the demo's size, trained for fewer epochs than the demo.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.demo_seeds import ROOT, run_trial
from components.params import load_params

pytestmark = pytest.mark.slow


def test_a_model_of_shuffled_labels_is_not_blessed(tmp_path: Path) -> None:
    params = load_params(ROOT / "params.yaml", overrides=["train.shuffle_labels=true", "train.max_epochs=1"])
    trial = run_trial(params, tmp_path)
    assert not trial.blessed
    assert trial.r2 < 0.05
    assert any("baseline" in reason or "R²" in reason for reason in trial.reasons)


@pytest.mark.timeout(600)
def test_without_an_rna_effect_the_same_code_shows_no_rna_gain(tmp_path: Path) -> None:
    params = load_params(
        ROOT / "params.yaml", overrides=["fabricate.rna_dose=0", "train.max_epochs=3", "evaluate.contributions=true"]
    )
    trial = run_trial(params, tmp_path)
    lost = trial.metrics["contributions"]
    assert lost["dna"]["low"] > 0.05
    assert lost["protein"]["low"] > 0.05
    assert lost["rna"]["high"] < 0.02
