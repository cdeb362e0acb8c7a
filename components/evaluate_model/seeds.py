"""Figures over several seeds: mean and standard deviation, as the paper tells them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.artifacts import open_artifact
from components.evaluate_model.scores import number_json
from model.errors import InputError


def summarize_seeds(folders: Sequence[Path]) -> dict[str, Any]:
    """Mean and sample standard deviation over evaluation artifacts, of each figure and per tissue.

    They must be of one dataset and of different models: else `InputError`. A figure that is undefined for one seed is
    null. {"seeds": n, "model": {figure: {"mean", "sd"}}, "per_tissue": {tissue: {figure: {"mean", "sd"}}}}
    """
    artifacts = [open_artifact(folder, "evaluation") for folder in folders]
    if len(artifacts) < 2:
        raise InputError(
            where="seeds", expected="at least two evaluations", found=str(len(artifacts)), fix="Name more of them."
        )
    datasets = {artifact.manifest["inputs"]["transcripts"] for artifact in artifacts}
    models = {artifact.manifest["inputs"]["model"] for artifact in artifacts}
    if len(datasets) > 1 or len(models) < len(artifacts):
        raise InputError(
            where="seeds",
            expected="evaluations of different models on one dataset",
            found=f"{len(models)} different models on {len(datasets)} dataset(s) in {len(artifacts)} evaluations",
            fix="Name one evaluation per seed.",
        )
    told = [json.loads((item.payload / "metrics.json").read_text(encoding="utf-8"))["model"] for item in artifacts]
    tissues = told[0]["per_tissue"]
    return {
        "seeds": len(told),
        "model": {name: _summary([item[name] for item in told]) for name in told[0] if name != "per_tissue"},
        "per_tissue": {
            tissue: {name: _summary([item["per_tissue"][tissue][name] for item in told]) for name in figures}
            for tissue, figures in tissues.items()
        },
    }


def _summary(figures: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    values = [figure["value"] for figure in figures]
    defined = np.array([value for value in values if value is not None])
    if len(defined) < len(values):
        return {"mean": None, "sd": None}
    return {"mean": number_json(float(defined.mean())), "sd": number_json(float(defined.std(ddof=1)))}
