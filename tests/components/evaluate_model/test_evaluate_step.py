"""The evaluation step end to end on an untrained model: figures, verdict, report, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.artifacts import AlreadyComplete, open_artifact
from components.evaluate_model.examples import Examples
from components.evaluate_model.metrics import GeneGroups
from components.evaluate_model.prediction import donors_across_genes, predict
from components.evaluate_model.step import run
from components.params import Params, load_params
from model.errors import InputError

SMALL = [
    *("runtime.threads=1", "evaluate.resamples=200", "evaluate.rank_resamples=100"),
    *("evaluate.onnx=false", "evaluate.attention_transcripts=0"),
]


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(None, overrides=[*SMALL, "evaluate.gates.min_test_genes=5"])


@pytest.fixture(scope="module")
def evaluation(transcripts: Path, untrained_model: Path, params: Params, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "evaluation"
    run({"transcripts": transcripts, "model": untrained_model}, params, out, out.parent / "work")
    return out


def payload_json(artifact: Path, name: str):
    return json.loads((artifact / "payload" / name).read_text(encoding="utf-8"))


def test_untrained_model_is_not_blessed_and_every_failed_rule_gives_a_reason(evaluation):
    verdict = payload_json(evaluation, "verdict.json")
    assert verdict["blessed"] is False
    failed = [rule["sentence"] for rule in verdict["rules"] if not rule["passed"]]
    assert verdict["reasons"] == failed
    assert any("R²" in reason for reason in failed)


def test_payload_is_whole_and_verified(evaluation):
    artifact = open_artifact(evaluation, "evaluation")
    names = {entry["path"] for entry in artifact.manifest["files"]}
    plots = {f"plots/{name}.svg" for name in ("per_tissue", "scatter", "calibration", "training")}
    tables = {"metrics.json", "verdict.json", "intervals.json", "predictions.parquet"}
    assert names == tables | plots | {"report.html", "model_card.md"}


def test_predictions_are_those_of_the_predictor_in_order(evaluation, transcripts):
    table = pq.read_table(evaluation / "payload" / "predictions.parquet")
    test = Examples.read(transcripts / "payload", "test")
    assert table["transcript_id"].to_pylist() == test.transcript_ids
    assert json.loads(table.schema.metadata[b"tissues"]) == ["Blood", "Brain", "Liver", "Lung"]
    observed = np.array(table["observed"].to_pylist(), dtype=np.float32)
    np.testing.assert_array_equal(observed, test.labels)


def test_metrics_name_every_baseline_and_say_that_data_are_simulated(evaluation):
    metrics = payload_json(evaluation, "metrics.json")
    assert metrics["simulated"] is True
    assert set(metrics["baselines"]) == {"tissue_mean", "ridge", "boosting", "kmer_ridge", "nearest_neighbour"}
    assert metrics["baselines"]["tissue_mean"]["spearman"]["value"] is None
    assert set(metrics["contributions"]) == {"dna", "rna", "protein"}
    assert set(metrics["model"]["per_tissue"]) == {"Blood", "Brain", "Liver", "Lung"}


def test_report_stands_alone_and_says_simulated(evaluation):
    """No script and nothing fetched: every source is embedded."""
    html = (evaluation / "payload" / "report.html").read_text(encoding="utf-8")
    assert "SIMULATED" in html
    assert "<script" not in html
    assert "<link" not in html
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:|#)[a-z]""", html)
    assert html.index("Not blessed") < html.index("Against baselines")
    assert "Simulated data" in (evaluation / "payload" / "model_card.md").read_text(encoding="utf-8")


def test_two_runs_give_the_same_payload(evaluation, transcripts, untrained_model, params, tmp_path):
    inputs = {"transcripts": transcripts, "model": untrained_model}
    run(inputs, params, tmp_path / "again", tmp_path / "work")
    assert open_artifact(tmp_path / "again", "evaluation").digest == open_artifact(evaluation, "evaluation").digest
    with pytest.raises(AlreadyComplete):
        run(inputs, params, evaluation, tmp_path / "work")


def test_model_of_another_dataset_is_evaluated_but_not_blessed(make_transcripts, untrained_model, params, tmp_path):
    other = make_transcripts(tmp_path / "other", seed=5)
    run({"transcripts": other, "model": untrained_model}, params, tmp_path / "out", tmp_path / "work")
    rules = {rule["name"]: rule for rule in payload_json(tmp_path / "out", "verdict.json")["rules"]}
    assert rules["same_dataset"]["passed"] is False


def test_damaged_model_is_refused_and_nothing_is_left(transcripts, untrained_model, params, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(untrained_model, broken)
    (broken / "payload" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        run({"transcripts": transcripts, "model": broken}, params, tmp_path / "out", tmp_path / "work")
    assert not (tmp_path / "out").exists()


def test_donors_come_from_other_genes_and_each_gives_once(transcripts):
    test = Examples.read(transcripts / "payload", "test")
    groups = GeneGroups.of(test.gene_ids)
    eligible = np.array([bool(protein) for protein in test.protein])
    donors = donors_across_genes(groups, eligible, seed=0)
    np.testing.assert_array_equal(np.sort(donors), np.arange(len(test)))
    assert (groups.gene[donors[eligible]] != groups.gene[eligible]).all()
    assert (donors[~eligible] == np.flatnonzero(~eligible)).all()


def test_transcript_without_any_readable_modality_gets_the_training_mean(transcripts, untrained_model):
    from model.predictor import Predictor
    from model.torch_backend import TorchBackend
    from model.weights import load_model

    test = Examples.read(transcripts / "payload", "test")
    network = load_model(untrained_model / "payload")
    predicted = predict(Predictor(TorchBackend(network), network.config), test, ("protein",))
    without = np.array([not protein for protein in test.protein])
    assert (predicted[without] == 2.0).all()
    assert (predicted[~without] != 2.0).any()


def test_few_genes_reach_a_verdict_that_says_so(make_transcripts, make_model, tmp_path):
    """A handful of transcripts, one isoform in some splits: every figure is a number or null, nothing crashes."""
    few = make_transcripts(tmp_path / "few", transcripts=14, genes=9, seed=2)
    model = make_model(tmp_path / "model", few)
    run({"transcripts": few, "model": model}, load_params(None, overrides=SMALL), tmp_path / "out", tmp_path / "w")
    verdict = payload_json(tmp_path / "out", "verdict.json")
    assert verdict["blessed"] is False
    assert "too few genes to bless" in " ".join(verdict["reasons"])


def test_truth_of_a_simulation_is_shown_and_that_of_another_refused(transcripts, untrained_model, params, tmp_path):
    inputs = {"transcripts": transcripts, "model": untrained_model, "truth": tmp_path / "truth.json"}
    expression = open_artifact(transcripts, "transcripts").manifest["inputs"]["expression"]
    truth = {"ceilings": {"dna+rna+protein": {"mean": 0.9}, "dna": {"mean": 0.2}}, "files": {"table": expression}}
    inputs["truth"].write_text(json.dumps(truth), encoding="utf-8")
    run(inputs, params, tmp_path / "out", tmp_path / "work")
    assert payload_json(tmp_path / "out", "metrics.json")["ceilings"] == {"dna+rna+protein": 0.9, "dna": 0.2}
    assert "Ceiling" in (tmp_path / "out" / "payload" / "report.html").read_text(encoding="utf-8")
    inputs["truth"].write_text(json.dumps({**truth, "files": {"table": "0" * 64}}), encoding="utf-8")
    with pytest.raises(InputError, match="truth"):
        run(inputs, params, tmp_path / "other", tmp_path / "work")


def test_dataset_with_other_tissues_than_the_model_is_refused(make_transcripts, untrained_model, params, tmp_path):
    other = make_transcripts(tmp_path / "other", tissues=("Blood", "Brain", "Liver", "Skin"))
    with pytest.raises(InputError, match="tissues"):
        run({"transcripts": other, "model": untrained_model}, params, tmp_path / "out", tmp_path / "work")
    assert not (tmp_path / "out").exists()
