"""The evaluation step: predicts the test split, scores it against baselines, judges, and reports."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.artifacts import write_artifact, write_json
from components.evaluate_model.baselines import honest_predictions
from components.evaluate_model.evaluation import Evaluation, evaluate
from components.evaluate_model.examples import Examples
from components.evaluate_model.metrics import GeneGroups
from components.evaluate_model.prediction import donors_across_genes, predict
from components.evaluate_model.subject import Subject
from components.params import Params
from model.errors import InputError

if TYPE_CHECKING:
    from model.predictor import Predictor

KIND = "evaluation"


def run(inputs: Mapping[str, Path], params: Params, out: Path, work: Path) -> None:
    """Evaluate `inputs["model"]` on the test split of `inputs["transcripts"]`; write the evaluation artifact at `out`.

    `inputs["truth"]`, which simulated data have beside them, may be given: the report shows its ceilings.
    A model that fails the gates is a result like another: the verdict says so. Bad input raises `InputError`.
    """
    subject = Subject.open(model=inputs["model"], transcripts=inputs["transcripts"], truth=inputs.get("truth"))
    with write_artifact(out, kind=KIND, inputs=inputs, config=params.config("evaluate")) as writer:
        evaluation, test, seconds = _evaluate(subject, params)
        _write_payload(writer.payload, subject, evaluation, test, params)
        writer.run["seconds_of"] = seconds
        writer.run["verdict"] = "blessed" if evaluation.verdict["blessed"] else "not blessed"


def _evaluate(subject: Subject, params: Params) -> tuple[Evaluation, Examples, dict[str, float]]:
    started = time.monotonic()
    seconds = {}
    train, valid, test = (Examples.read(subject.transcripts.payload, split) for split in ("train", "valid", "test"))
    predictor, modalities = _predictor(subject, params)
    predicted = predict(predictor, test, modalities)
    shuffled = _shuffled(predictor, test, modalities, params) if params.evaluate.contributions else {}
    seconds["predictions"] = time.monotonic() - started
    baselines, penalties = honest_predictions(train, valid, test, params.evaluate.baselines)
    seconds["baselines"] = time.monotonic() - started - seconds["predictions"]
    evaluation = evaluate(
        tissues=tuple(subject.dataset["tissues"]),
        gene_ids=test.gene_ids,
        observed=test.labels,
        predicted=predicted,
        baselines=baselines,
        shuffled=shuffled,
        penalties=penalties,
        same_dataset=subject.same_dataset,
        params=params.evaluate,
    )
    seconds["scores"] = time.monotonic() - started - sum(seconds.values())
    return evaluation, test, {name: round(value, 2) for name, value in seconds.items()}


def _predictor(subject: Subject, params: Params) -> tuple[Predictor, tuple[str, ...]]:
    """The model behind the one inference path, and its modalities; refuses a dataset with other tissues or windows."""
    import torch

    from model.predictor import Predictor
    from model.torch_backend import TorchBackend
    from model.weights import load_model

    network = load_model(subject.model.payload)
    config = network.config
    for what, found, expected in (
        ("tissues", tuple(subject.dataset["tissues"]), tuple(config.tissues)),
        ("window_bp", subject.dataset["window_bp"], config.window_bp),
    ):
        if found != expected and not (what == "window_bp" and config.dna is None):
            raise InputError(
                where=str(subject.transcripts.path),
                expected=f"the {what} that the model was trained for ({_short(expected)})",
                found=_short(found),
                fix="Evaluate on the dataset that the model was trained on, or train on this one.",
            )
    if params.runtime.threads:
        torch.set_num_threads(params.runtime.threads)
    has_gpu = torch.cuda.is_available()
    if params.runtime.device == "cuda" and not has_gpu:
        raise InputError(
            where="runtime.device", expected="a CUDA device", found="none", fix="Set it to auto or cpu in params.yaml."
        )
    device = "cuda" if has_gpu and params.runtime.device != "cpu" else "cpu"
    return Predictor(TorchBackend(network, device), config), config.modalities


def _short(value: Any) -> str:
    return f"{len(value)}: {', '.join(value[:3])} …" if isinstance(value, tuple) else str(value)


def _shuffled(
    predictor: Predictor, test: Examples, modalities: tuple[str, ...], params: Params
) -> dict[str, np.ndarray]:
    """Predictions with each modality in turn taken from a transcript of another gene."""
    groups = GeneGroups.of(test.gene_ids)
    present = {
        "dna": np.ones(len(test), dtype=bool),
        "rna": np.array([bool(rna) for rna in test.rna]),
        "protein": np.array([bool(protein) for protein in test.protein]),
    }
    return {
        name: predict(
            predictor,
            test,
            modalities,
            donors={name: donors_across_genes(groups, present[name], params.evaluate.seed)},
            description=f"predict with {name} shuffled",
        )
        for name in modalities
    }


def _write_payload(payload: Path, subject: Subject, evaluation: Evaluation, test: Examples, params: Params) -> None:
    from components.evaluate_model.model_card import model_card
    from components.evaluate_model.report import report_page

    write_json(payload / "metrics.json", evaluation.metrics(simulated=subject.simulated, ceilings=subject.ceilings))
    write_json(payload / "verdict.json", {**evaluation.verdict, "simulated": subject.simulated})
    _write_predictions(payload / "predictions.parquet", evaluation, test, simulated=subject.simulated)
    (payload / "report.html").write_text(report_page(subject, evaluation, params), encoding="utf-8")
    (payload / "model_card.md").write_text(model_card(subject, evaluation, params), encoding="utf-8")


def _write_predictions(path: Path, evaluation: Evaluation, test: Examples, *, simulated: bool) -> None:
    """One row per test transcript: ids, and lists of predicted and observed log1p TPM in the order of `tissues`.

    The schema's metadata hold, as JSON, the tissues' names and whether the data are simulated.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    width = len(evaluation.tissues)
    columns = {"transcript_id": pa.array(test.transcript_ids), "gene_id": pa.array(test.gene_ids)}
    for name, values in (("predicted", evaluation.predicted), ("observed", evaluation.observed)):
        flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).reshape(-1))
        columns[name] = pa.FixedSizeListArray.from_arrays(flat, width)
    table = pa.table(columns)
    table = table.replace_schema_metadata(
        {"tissues": json.dumps(evaluation.tissues), "simulated": json.dumps(simulated)}
    )
    pq.write_table(table, path)
