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
from components.champion import find_champion
from components.children import end_with_owner
from components.harness import EXIT_STOPPED, StepStoppedError, reason_of, run_step
from components.optional_data import find_optional_data
from components.params import Params
from components.raw_data import find_raw_data, find_truth
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
) -> None:
    """Run a step in its pod.

    `inputs["raw"]` is the folder of the raw files, all others are artifacts: with a model among them, only the truth
    about simulated data is looked for in it, and the champion in the registry; with a validation, what a user may
    give beside the raw files too. `params` is `Params.to_json`; `registry` beats package.registry. `pages` are files of
    the payload that the run's page shows. Bad input ends the process with one line and status 2.
    """
    end_with_owner()
    tree = Params.from_json(params)
    if registry:
        tree = tree.model_copy(update={"package": tree.package.model_copy(update={"registry": registry})})
    place = Path(out.path)
    # kfp's executor lets every library tell all; a pod's log is read by people.
    logging.getLogger().setLevel(logging.WARNING)
    print(f"{BEGIN}{name}", file=sys.stderr, flush=True)
    notes = Path(work_root)
    note(notes, name, "begun")
    try:
        paths = {key: Path(artifact.path) for key, artifact in inputs.items() if key != "raw"}
        if "raw" in inputs:
            raw = Path(inputs["raw"].path)
            if "validation" in paths:
                paths |= find_optional_data(raw, tree.data)
            paths |= _beside(tree, raw, paths, Path(work_root)) if "model" in paths else find_raw_data(raw, tree.data)
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


def _beside(tree: Params, raw: Path, paths: Mapping[str, Path], work: Path) -> dict[str, Path]:
    """What an evaluation finds by itself: the truth about simulated data, and the registry's champion."""
    found = find_truth(raw, paths["transcripts"])
    if tree.evaluate.champion:
        found |= find_champion(tree.package.registry, paths["model"], work)
    return found


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


def _verdict(place: Path) -> dict[str, str]:
    """The verdict of an evaluation by that name; nothing of any other artifact."""
    file = place / PAYLOAD / "verdict.json"
    if not file.exists():
        return {}
    return {"verdict": "blessed" if json.loads(file.read_text(encoding="utf-8"))["blessed"] else "not blessed"}
