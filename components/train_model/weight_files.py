"""The checkpoints that a training starts from, as inputs of the step. Without torch."""

from __future__ import annotations

from pathlib import Path

from components.sections import WeightsParams

NAMES = ("isoformer", "dna", "rna", "protein", "key_map")


def weight_files(weights: WeightsParams) -> dict[str, Path]:
    """Paths by name of input: their digests, not their places, go into the step's manifest and work folder."""
    return {f"weights_{name}": Path(path).absolute() for name in NAMES if (path := getattr(weights, name)) is not None}
