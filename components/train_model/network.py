"""From parameters and a dataset to the configuration of the network that is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from components.params import Params
from model.config import MODALITIES, IsoFormerConfig
from model.presets import encoder, preset


def build_config(params: Params, dataset: Mapping[str, Any]) -> IsoFormerConfig:
    """The network that `params` choose, with the tissues and label statistics of a dataset (dataset.json)."""
    return replace(
        chosen_network(params),
        tissues=tuple(dataset["tissues"]),
        output_mean=tuple(float(value) for value in dataset["label_mean"]),
        output_std=tuple(float(value) for value in dataset["label_std"]),
    )


def chosen_network(params: Params) -> IsoFormerConfig:
    """The preset with the chosen modalities and the user's overrides.

    An encoder may be overridden by its published name (`rna: nt-v2-50m`); overrides of an encoder that is not chosen
    wait until it is. An unknown override raises `InputError` naming the nearest key.
    """
    base = preset(params.model.preset)
    chosen = params.model.modalities
    config = replace(
        base,
        window_bp=params.extract.window_bp,
        dna=base.dna if "dna" in chosen else None,
        rna=base.rna if "rna" in chosen else None,
        protein=base.protein if "protein" in chosen else None,
    )
    return with_overrides(config, params.model.overrides)


def with_overrides(config: IsoFormerConfig, overrides: Mapping[str, Any]) -> IsoFormerConfig:
    """The configuration with a user's overrides; those of an encoder that it lacks are left out."""
    named = {
        name: dataclasses.asdict(encoder(name, value)) if name in MODALITIES and isinstance(value, str) else value
        for name, value in overrides.items()
        if name not in MODALITIES or name in config.modalities
    }
    return IsoFormerConfig.from_dict(_merged(config.to_dict(), named))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
