"""The evaluation step: predicts the test split, scores it against baselines, judges, and reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from components.artifacts import write_artifact, write_json
from components.evaluate_model.attention_comparison import initial_weights
from components.evaluate_model.conformal import intervals_json
from components.evaluate_model.evaluation import Evaluation, evaluate
from components.evaluate_model.examples import Examples
from components.evaluate_model.measuring import Found, measure
from components.evaluate_model.subject import Subject
from components.params import Params
from components.work_folders import work_folder

KIND = "evaluation"


def run(inputs: Mapping[str, Path], params: Params, out: Path, work: Path) -> None:
    """Evaluate `inputs["model"]` on the test split of `inputs["transcripts"]`; write the evaluation artifact at `out`.

    `inputs["truth"]`, which simulated data have beside them, may be given: the report shows its ceilings.
    `inputs["champion"]` (`components.champion`), if given, is run on the same transcripts and compared.
    A model that fails the gates is a result like another: the verdict says so. Bad input raises `InputError`.
    """
    subject = Subject.open(model=inputs["model"], transcripts=inputs["transcripts"], truth=inputs.get("truth"))
    config = params.config("evaluate")
    # What the network was before training is compared with; its digests belong to what the result is made of.
    inputs = {**inputs, **initial_weights(subject.model, params.data.weights)}
    with write_artifact(out, kind=KIND, inputs=inputs, config=config) as writer:
        folder = work_folder(work, "evaluate_model", inputs, config, exclusive=True)
        found = measure(subject, params, champion=inputs.get("champion"), work=folder)
        evaluation = evaluate(found.measured, params.evaluate)
        found.clock.lap("scores")
        _write_payload(writer.payload, subject, evaluation, found, params)
        found.clock.lap("report")
        writer.run["seconds_of"] = found.clock.seconds
        writer.run["verdict"] = "blessed" if evaluation.verdict["blessed"] else "not blessed"


def _write_payload(payload: Path, subject: Subject, evaluation: Evaluation, found: Found, params: Params) -> None:
    from components.evaluate_model.model_card import model_card
    from components.evaluate_model.plots import write_plots
    from components.evaluate_model.report import report_page

    metrics = evaluation.metrics(simulated=subject.simulated, ceilings=subject.ceilings)
    write_json(payload / "metrics.json", {**metrics, "attention": found.attention_json})
    write_json(payload / "summary.json", _summary(metrics["model"], evaluation.verdict))
    write_json(payload / "verdict.json", {**evaluation.verdict, "simulated": subject.simulated})
    intervals = None
    if found.intervals is not None:
        intervals = intervals_json(
            found.intervals, evaluation.tissues, evaluation.observed, evaluation.predicted, evaluation.groups
        )
        write_json(payload / "intervals.json", intervals)
    _write_predictions(payload / "predictions.parquet", evaluation, found.test, simulated=subject.simulated)
    write_plots(payload / "plots", subject, evaluation)
    page = report_page(subject, evaluation, params, intervals=intervals, attention=found.attention)
    (payload / "report.html").write_text(page, encoding="utf-8")
    (payload / "model_card.md").write_text(model_card(subject, evaluation, params, intervals), encoding="utf-8")


def _summary(model: Mapping[str, Any], verdict: Mapping[str, Any]) -> dict[str, float | None]:
    """The few figures that `dvc metrics show` lists, flat; 1 and 0 for yes and no."""
    figures = {name: figure["value"] for name, figure in model.items() if name != "per_tissue"}
    return {**figures, "blessed": float(verdict["blessed"]), "promoted": float(verdict["promoted"])}


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
