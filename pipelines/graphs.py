"""The pipelines by name: what `isoformer pipeline compile`, `run` and `submit` can take."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from model.errors import InputError
from pipelines.policy import Cluster
from pipelines.stages import STAGES

_TRAINING = tuple(item.name for item in STAGES if item.name != "fabricate")


@dataclass(frozen=True)
class Pipeline:
    """The module that has `build(cluster, params_json)`, and the steps in their order."""

    module: str
    steps: tuple[str, ...]


PIPELINES = {
    "training": Pipeline("pipelines.training_pipeline", _TRAINING),
    "prediction": Pipeline("pipelines.prediction_pipeline", ("batch_predict",)),
    "monitoring": Pipeline("pipelines.monitoring_pipeline", ("monitor_drift", *_TRAINING)),
    "experiments": Pipeline(
        "pipelines.experiments_pipeline",
        ("validate_data", "extract_sequences", "plan_trials", "run_trial", "report_experiments"),
    ),
}


def known(name: str) -> Pipeline:
    """The pipeline of that name; raises `InputError` where there is none."""
    if name not in PIPELINES:
        raise InputError(
            where="--pipeline", expected=f"one of {', '.join(PIPELINES)}", found=name, fix="Choose one of them."
        )
    return PIPELINES[name]


def build(name: str, cluster: Cluster, params_json: str) -> Any:
    """The Kubeflow pipeline of that name; raises `InputError` where there is none."""
    return importlib.import_module(known(name).module).build(cluster, params_json)
