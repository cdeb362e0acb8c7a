"""What the Kubeflow wrappers of the steps share: artifacts to paths, results to what its pages show."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from components.artifacts import MANIFEST, PAYLOAD
from components.champion import find_champion
from components.harness import EXIT_STOPPED, StepStoppedError, reason_of, run_step
from components.params import Params
from components.raw_data import find_raw_data, find_truth

if TYPE_CHECKING:
    from kfp import dsl

# Lines by which a local run follows its steps; everything between them is the step's own output.
BEGIN, REFUSED, END = "» begin ", "» refused ", "» end "


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
    about simulated data is looked for in it, and the champion in the registry. `params` is `Params.to_json`;
    `registry` beats package.registry. `pages` are files of the payload that the run's page shows. Bad input ends the
    process with one line and status 2.
    """
    tree = Params.from_json(params)
    if registry:
        tree = tree.model_copy(update={"package": tree.package.model_copy(update={"registry": registry})})
    place = Path(out.path)
    # kfp's executor lets every library tell all; a pod's log is read by people.
    logging.getLogger().setLevel(logging.WARNING)
    print(f"{BEGIN}{name}", file=sys.stderr, flush=True)
    try:
        paths = {key: Path(artifact.path) for key, artifact in inputs.items() if key != "raw"}
        if "raw" in inputs:
            raw = Path(inputs["raw"].path)
            paths |= _beside(tree, raw, paths, Path(work_root)) if "model" in paths else find_raw_data(raw, tree.data)
        run_step(name, inputs=paths, params=tree, out=place, work=Path(work_root), through="kfp")
    except StepStoppedError as stop:
        print(stop, file=sys.stderr, flush=True)
        sys.exit(EXIT_STOPPED)
    except Exception as error:
        reason = reason_of(error)
        if reason is None:
            raise
        print(f"{REFUSED}{reason}", file=sys.stderr, flush=True)
        sys.exit(2)
    finally:
        print(f"{END}{name}", file=sys.stderr, flush=True)
    _describe(out, place)
    for file, page in (pages or {}).items():
        shutil.copyfile(place / PAYLOAD / file, page.path)


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
    payload = Path(evaluation.path) / PAYLOAD
    scores = json.loads((payload / "metrics.json").read_text(encoding="utf-8"))["model"]
    for name, figure in scores.items():
        if name != "per_tissue" and figure["value"] is not None:
            metrics.log_metric(name, figure["value"])
    blessed = json.loads((payload / "verdict.json").read_text(encoding="utf-8"))["blessed"]
    return "blessed" if blessed else "not blessed"
