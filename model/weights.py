"""A model on disk: config.json and model.safetensors in one folder, read strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.config import IsoFormerConfig
from model.errors import InputError
from model.isoformer import IsoFormer

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def save_model(model: IsoFormer, folder: Path) -> None:
    """Write `config.json` and `model.safetensors` into an existing folder; equal models give equal bytes."""
    text = json.dumps(model.config.to_dict(), sort_keys=True, indent=1)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
    tensors = {name: value.detach().cpu().contiguous() for name, value in sorted(model.state_dict().items())}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def load_model(folder: Path, device: torch.device | str = "cpu") -> IsoFormer:
    """Read what `save_model` wrote, in evaluation mode; raises `InputError` naming every tensor that does not fit."""
    config = read_config(folder)
    path = folder / WEIGHTS_FILE
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            where=str(path), expected="a safetensors file", found=str(error), fix="Give a folder that a model is in."
        ) from None
    with torch.random.fork_rng():  # reading a model must not move the caller's random numbers
        model = IsoFormer(config)
    load_tensors(model, tensors, where=str(path))
    return model.to(device).eval()


def read_config(folder: Path) -> IsoFormerConfig:
    """The configuration stored in a model's folder."""
    path = folder / CONFIG_FILE
    try:
        return IsoFormerConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(
            where=str(path), expected="a model's config.json", found=str(error), fix="Give a folder that a model is in."
        ) from None


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Copy tensors into a module; missing, unexpected and misshapen ones are all named and refused."""
    wanted = module.state_dict()
    problems = [f"missing {name} {tuple(wanted[name].shape)}" for name in sorted(wanted.keys() - tensors.keys())]
    problems += [f"unexpected {name} {tuple(tensors[name].shape)}" for name in sorted(tensors.keys() - wanted.keys())]
    problems += [
        f"misshapen {name} {tuple(tensors[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & tensors.keys())
        if wanted[name].shape != tensors[name].shape
    ]
    if problems:
        raise InputError(
            where=where,
            expected="exactly the tensors of the model that config.json describes",
            found="; ".join(problems),
            fix="Use the weights and the configuration of one model.",
        )
    module.load_state_dict(dict(tensors))
