"""The paper's "Enformer alone": the DNA tower and head, trained by the same recipe, beside the whole network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from components.artifacts import open_artifact
from components.evaluate_model.dna_alone import train_dna_alone
from components.evaluate_model.step import run
from components.params import Params
from model.weights import load_model
from tests.components.train_model.workers import changed


@pytest.mark.slow
def test_the_dna_tower_alone_is_trained_likewise_and_compared_by_tissue(
    transcripts: Path, model: Path, sanity_params: Params, tmp_path: Path
) -> None:
    overrides = {"dna_alone": True, "resamples": 200, "rank_resamples": 200, "attention_transcripts": 0, "onnx": False}
    evaluate = sanity_params.evaluate.model_copy(update=overrides)
    params = sanity_params.model_copy(update={"evaluate": evaluate})
    inputs = {"transcripts": transcripts, "model": model}
    run(inputs, params, tmp_path / "evaluation", tmp_path / "work")
    metrics = json.loads((tmp_path / "evaluation" / "payload" / "metrics.json").read_text())
    gains = metrics["over_dna_alone"]
    assert len(gains) == 30
    alone, ours = metrics["baselines"]["dna_alone"], metrics["model"]
    mean = np.mean([gain["value"] for gain in gains.values()])
    assert mean == pytest.approx(ours["r2"]["value"] - alone["r2"]["value"], abs=1e-6)
    (trained,) = (tmp_path / "work").rglob("dna_alone/*/payload/params.json")
    assert json.loads(trained.read_text())["model"]["modalities"] == ["dna"]
    assert "DNA tower alone" in (tmp_path / "evaluation" / "payload" / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("given", [("dna", "rna", "protein"), ("isoformer",)])
def test_the_baseline_starts_from_the_dna_tower_of_the_weights(
    tmp_path: Path, sanity_params: Params, transcripts: Path, model: Path, given: tuple[str, ...]
) -> None:
    params = changed(sanity_params, data={"weights": dict.fromkeys(given, str(model / "payload"))})
    out = train_dna_alone(open_artifact(model, "model"), transcripts, params, tmp_path)
    assert set(load_model(out / "payload").origins) == {"dna"}
