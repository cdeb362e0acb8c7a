"""The pipelines by name: what `isoformer pipeline compile` and `submit` can take."""

from __future__ import annotations

import importlib
from typing import Any

from model.errors import InputError
from pipelines.policy import Cluster

# name: module with `build(cluster, params_json)`.
PIPELINES = {"training": "pipelines.training_pipeline", "experiments": "pipelines.experiments_pipeline"}


def build(name: str, cluster: Cluster, params_json: str) -> Any:
    """The Kubeflow pipeline of that name; raises `InputError` where there is none."""
    if name not in PIPELINES:
        known = ", ".join(PIPELINES)
        raise InputError(where="--pipeline", expected=f"one of {known}", found=name, fix="Choose one of them.")
    return importlib.import_module(PIPELINES[name]).build(cluster, params_json)
