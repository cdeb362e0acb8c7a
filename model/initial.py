"""A model from published weights: the whole of a checkpoint, or encoder by encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from model.errors import InputError
from model.isoformer import IsoFormer
from model.presets import preset
from model.pretrained import Tower, load_isoformer, load_tower


def initial_model(
    name: str,
    *,
    isoformer: Path | None = None,
    towers: Mapping[str, Path] | None = None,
    key_map: Path | None = None,
    new_head: bool = False,
    tissues: tuple[str, ...] = (),
    seed: int = 0,
) -> tuple[IsoFormer, list[str]]:
    """A named network with these weights, and lines that say what was loaded and what starts at random."""
    if towers and isoformer is not None:
        raise InputError(
            where="initial weights",
            expected="a whole IsoFormer, or single encoders",
            found="both",
            fix="Leave one of them out.",
        )
    if isoformer is None and (new_head or (key_map is not None and not towers)):
        raise InputError(
            where="initial weights",
            expected="weights that --new-head or --key-map apply to",
            found="none",
            fix="Give --isoformer, or leave these options out.",
        )
    config = preset(name)
    torch.manual_seed(seed)
    model = IsoFormer(replace(config, tissues=tissues) if tissues else config)
    if isoformer is not None:
        reports = [load_isoformer(model, isoformer, key_map=key_map, new_head=new_head)]
    else:
        reports = [
            load_tower(model, cast(Tower, tower), path, key_map=key_map) for tower, path in (towers or {}).items()
        ]
    lines = [report.summary() for report in reports]
    lines += [f"note: {note}" for report in reports for note in report.notes]
    if isoformer is None:
        random = [tower for tower in model.config.modalities if tower not in (towers or {})]
        lines.append(
            f"at random (seed {seed}): {', '.join([*(f'the {tower} encoder' for tower in random), 'fusion, head'])}"
        )
    return model, lines
