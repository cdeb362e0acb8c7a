"""What the Kubeflow wrappers of the steps share: artifacts to paths, results to what its pages show."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from components.artifacts import MANIFEST, PAYLOAD
from components.batch_predict.packaged import find_package
from components.champion import find_champion
from components.children import end_with_owner
from components.harness import EXIT_STOPPED, StepStoppedError, reason_of, run_step
from components.optional_data import find_optional_data
from components.params import Params
from components.raw_data import find_raw_data, find_sequences, find_truth
from components.run_notes import RUN_VARIABLE, note

if TYPE_CHECKING:
    from kfp import dsl

# Lines by which a local run follows its steps; everything between them is the step's own output.
BEGIN, REFUSED, STOPPED, END = "» begin ", "» refused ", "» stopped ", "» end "


def run_component(
    name: str,
    *,
    inputs: Mapping[str, dsl.Artifact],
    params: str,
    work_root: str,
    out: dsl.Artifact,
    pages: Mapping[str, dsl.Artifact] | None = None,
    registry: str = "",
    version: str = "",
    variants: str = "",
) -> None:
    """Run a step in its pod.

    `inputs["raw"]` is the folder of the raw files, all others are artifacts; what a step reads beside them is found
    there and in the registry. `params` is `Params.to_json`; `registry` beats package.registry, `variants`
    data.variants; `version` of the registry, its champion if empty. `pages` are files of the payload that the run's
    page shows. Bad input ends the process with one line and status 2.
    """
    end_with_owner()
    tree = Params.from_json(params)
    if registry:
        tree = tree.model_copy(update={"package": tree.package.model_copy(update={"registry": registry})})
    if variants:
        tree = tree.model_copy(update={"data": tree.data.model_copy(update={"variants": variants})})
    place = Path(out.path)
    # kfp's executor lets every library tell all; a pod's log is read by people.
    logging.getLogger().setLevel(logging.WARNING)
    print(f"{BEGIN}{name}", file=sys.stderr, flush=True)
    notes = Path(work_root)
    note(notes, name, "begun")
    try:
        paths = {key: Path(artifact.path) for key, artifact in inputs.items() if key != "raw"}
        if name == "monitor_drift":
            paths |= _package(tree, notes, version)
        if "raw" in inputs:
            paths |= _beside(name, tree, Path(inputs["raw"].path), paths, notes, version)
        run_step(name, inputs=paths, params=tree, out=place, work=Path(work_root), through="kfp")
    except StepStoppedError as stop:
        note(notes, name, "stopped", reason=str(stop))
        print(f"{STOPPED}{stop}", file=sys.stderr, flush=True)
        sys.exit(EXIT_STOPPED)
    except Exception as error:
        reason = reason_of(error)
        if reason is None:
            note(notes, name, "failed", reason=f"{type(error).__name__}: {error}")
            raise
        note(notes, name, "refused", reason=reason)
        print(f"{REFUSED}{reason}", file=sys.stderr, flush=True)
        sys.exit(2)
    finally:
        print(f"{END}{name}", file=sys.stderr, flush=True)
    _describe(out, place)
    for file, page in (pages or {}).items():
        shutil.copyfile(place / PAYLOAD / file, page.path)
    note(notes, name, "done", facts={"payload": out.metadata["payload_digest"][:12]} | _verdict(place))


def write_summary(
    status: dsl.PipelineTaskFinalStatus, *, work_root: str, summary: dsl.Markdown, page: dsl.HTML
) -> None:
    """Write the run's summary as Markdown and as a page, and its cause of failure to the log."""
    from components.summarise_run.step import as_html, as_markdown, summarise

    run = os.environ.get(RUN_VARIABLE, "")
    told = summarise(run=run, state=status.state, error=status.error_message or "", work_root=Path(work_root))
    Path(summary.path).write_text(as_markdown(told), encoding="utf-8")
    Path(page.path).write_text(as_html(told), encoding="utf-8")
    print(f"run {told.state}: {told.cause or 'every step ended well'}", file=sys.stderr, flush=True)


def _beside(name: str, tree: Params, raw: Path, paths: Mapping[str, Path], work: Path, version: str) -> dict[str, Path]:
    """What a step finds by itself among the raw files and in the registry."""
    if name == "batch_predict":
        return {**find_sequences(raw, tree.data), **_package(tree, work, version)}
    if name == "evaluate_model":
        found = find_truth(raw, paths["transcripts"])
        if tree.evaluate.champion:
            found |= find_champion(tree.package.registry, paths["model"], work)
        return found
    optional = find_optional_data(raw, tree.data) if name == "extract_sequences" else {}
    return {**find_raw_data(raw, tree.data), **optional}


def _package(tree: Params, work: Path, version: str) -> dict[str, Path]:
    """The packaged model of the registry; a pod's own copy lies with its work: its home may be read-only."""
    found = find_package(registry=tree.package.registry, version=version or None, cache=work / "versions")
    return {"package": found}


def _describe(out: dsl.Artifact, place: Path) -> None:
    """Metadata that the lineage pages show: what the artifact is, and the digests of it and of what it was made of."""
    manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
    out.metadata.update(
        kind=manifest["kind"],
        schema_version=manifest["schema_version"],
        payload_digest=manifest["payload_digest"],
        config_digest=manifest["config_digest"],
        **{f"made_from_{name}": digest for name, digest in manifest["inputs"].items()},
    )


def verdict_of(evaluation: dsl.Artifact, metrics: dsl.Metrics) -> str:
    """Log the scores of an evaluation to `metrics`; returns "blessed" or "not blessed"."""
    place = Path(evaluation.path)
    scores = json.loads((place / PAYLOAD / "metrics.json").read_text(encoding="utf-8"))["model"]
    for name, figure in scores.items():
        if name != "per_tissue" and figure["value"] is not None:
            metrics.log_metric(name, figure["value"])
    return _verdict(place)["verdict"]


def log_counts(predictions: dsl.Artifact, metrics: dsl.Metrics) -> None:
    """Log the counts of a batch prediction to `metrics`."""
    summary = json.loads((Path(predictions.path) / PAYLOAD / "summary.json").read_text(encoding="utf-8"))
    for name, count in summary.items():
        if isinstance(count, int):
            metrics.log_metric(name, count)


def drift_of(drift: dsl.Artifact, metrics: dsl.Metrics) -> str:
    """Log the figures of a drift check to `metrics`; returns its verdict."""
    record = json.loads((Path(drift.path) / PAYLOAD / "drift.json").read_text(encoding="utf-8"))
    for name, figure in record["figures"].items():
        metrics.log_metric(f"{name}_psi", figure["psi"])
        metrics.log_metric(f"{name}_ks", figure["ks"])
    return str(record["verdict"])


def _verdict(place: Path) -> dict[str, str]:
    """The verdict of an evaluation by that name; nothing of any other artifact."""
    file = place / PAYLOAD / "verdict.json"
    if not file.exists():
        return {}
    return {"verdict": "blessed" if json.loads(file.read_text(encoding="utf-8"))["blessed"] else "not blessed"}
