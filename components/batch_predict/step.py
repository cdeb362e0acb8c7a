"""The batch prediction step: a packaged model on a whole annotation, or on a list of variants, to Parquet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.artifacts import write_artifact, write_json
from components.batch_predict.report import write_report
from components.params import Params

KIND = "predictions"
PREDICTIONS, EFFECTS, SUMMARY, REPORT = "predictions.parquet", "variant_effects.parquet", "summary.json", "report.html"


def run(inputs: Mapping[str, Path], params: Params, out: Path, work: Path) -> None:
    """Predict with the model in the folder `inputs["package"]`.

    inputs: genome, annotation, package; with variants their effects are predicted, without them every transcript.
    payload: predictions.parquet or variant_effects.parquet with variant_effects.refused.tsv, summary.json, report.html.
    `runtime.processes` shards are predicted at a time. Raises `InputError` on bad input.
    """
    with write_artifact(out, kind=KIND, inputs=inputs, config={}) as writer:
        summary = _predict(inputs, params, writer.payload, work)
        about = json.loads((inputs["package"] / "about.json").read_text(encoding="utf-8"))
        facts = {name: about[name] for name in ("version", "model_digest", "dataset_version", "simulated")}
        write_json(writer.payload / SUMMARY, {**summary, "model": facts})
        write_report(writer.payload / REPORT, writer.payload / summary["file"], {**summary, "model": facts})


def _predict(inputs: Mapping[str, Path], params: Params, payload: Path, work: Path) -> dict[str, Any]:
    from components.batch_predict.predict import predict_annotation
    from components.batch_predict.variant_effects import predict_variants

    package, genome, annotation = (inputs[name] for name in ("package", "genome", "annotation"))
    processes, threads = params.runtime.processes, params.runtime.threads
    if "variants" not in inputs:
        count = predict_annotation(
            package, genome, annotation, payload / PREDICTIONS, work, processes=processes, threads=threads
        )
        return {"file": PREDICTIONS, "transcripts": count}
    counts = predict_variants(
        package,
        genome,
        annotation,
        inputs["variants"],
        payload / EFFECTS,
        work,
        processes=processes,
        threads=threads,
    )
    return {"file": EFFECTS, **counts.__dict__}
