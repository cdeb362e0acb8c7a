"""The monitoring step: what servers were asked and answered, against the training data; a verdict for a pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from components.artifacts import write_artifact, write_json
from components.monitor_drift.compare import PREDICTION, Comparison, compare
from components.monitor_drift.observations import Observed, read_observations
from components.monitor_drift.report import write_report
from components.params import Params

KIND = "drift"
DRIFT, STABLE, TOO_FEW = "drift", "stable", "too few"


def run(inputs: Mapping[str, Path], params: Params, out: Path, work: Path) -> None:
    """Compare the recorded transcripts in the folder `inputs["observations"]` with the profile of `inputs["package"]`.

    payload: drift.json (verdict drift, stable or too few; figures with PSI, KS and p-value), report.html. Raises
    `InputError` where nothing of that model was recorded.
    """
    wanted = params.monitor
    with write_artifact(out, kind=KIND, inputs=inputs, config=params.config("monitor")) as writer:
        about = json.loads((inputs["package"] / "about.json").read_text(encoding="utf-8"))
        profile = json.loads((inputs["package"] / "profile.json").read_text(encoding="utf-8"))
        observed = read_observations(inputs["observations"], about["version"])
        found = compare(_figures(observed), profile["features"], wanted.min_transcripts)
        moved = [item.name for item in found if item.psi >= wanted.max_psi and item.ks >= wanted.max_ks]
        verdict = DRIFT if moved else STABLE if found else TOO_FEW
        record = {
            "verdict": verdict,
            "moved": moved,
            "transcripts": len(observed.predicted),
            "files_of_other_models": observed.other_models,
            "version": about["version"],
            "figures": {item.name: _figure(item) for item in found},
        }
        write_json(writer.payload / "drift.json", record)
        write_report(writer.payload / "report.html", record, found, observed, simulated=bool(about["simulated"]))


def _figures(observed: Observed) -> dict[str, np.ndarray]:
    return {**observed.values, PREDICTION: observed.predicted.mean(axis=1)}


def _figure(item: Comparison) -> dict[str, float | int]:
    return {"transcripts": item.count, "psi": item.psi, "ks": item.ks, "p_value": item.p_value}
