"""The experiments pipeline by kfp's local runner: trials side by side, collected into one report."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.params import load_params
from pipelines.experiments_pipeline import build
from pipelines.policy import Cluster

ROOT = Path(__file__).parents[2]
SMALLEST = (
    *("train.max_steps=2", "train.max_epochs=1", "runtime.preflight=false", "runtime.trackers=[]", "runtime.threads=1"),
    *("evaluate.contributions=false", "evaluate.onnx=false"),
    *("evaluate.resamples=100", "evaluate.rank_resamples=100"),
    *("evaluate.baselines.boosting_components=1", "evaluate.baselines.boosting_iterations=1"),
)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_pipeline_reports_every_trial(raw_inputs: dict[str, Path], tmp_path: Path) -> None:
    from kfp import local

    params = load_params(ROOT / "params.yaml", preset="sanity", overrides=SMALLEST)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "kfp"))
    build(Cluster(), params.to_json())(
        data_uri=str(raw_inputs["genome"].parent), suite="targets", seeds=1, work_root=str(tmp_path / "work")
    )
    (report,) = (tmp_path / "kfp").glob("*/report-experiments/tables")
    text = report.read_text(encoding="utf-8")
    assert "DNA-centred" in text
    assert "missing" not in text
    (page,) = (tmp_path / "kfp").glob("*/report-experiments/report")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
