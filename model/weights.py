"""A model on disk as Hugging Face lays it out: config.json, model.safetensors or shards, README.md; read strictly."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model.adapters import is_adapted
from model.card import CardFacts, read_origins, write_card
from model.checkpoint_files import INDEX_FILE, WEIGHTS_FILE, CheckpointFiles
from model.config import IsoFormerConfig
from model.errors import InputError
from model.isoformer import IsoFormer

CONFIG_FILE = "config.json"
MAX_SHARD_BYTES = 5_000_000_000


def save_pretrained(
    model: IsoFormer, folder: Path, *, facts: CardFacts | None = None, max_shard_bytes: int = MAX_SHARD_BYTES
) -> None:
    """Write configuration, weights and model card as a new folder that appears whole.

    The card names the weights that the model grew from, with their licences. Raises `InputError` where something is
    at `folder` already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            where=str(folder),
            expected="a new or empty folder",
            found="one that holds something" if folder.is_dir() else "a file",
            fix="Choose another folder, or remove it.",
        )
    staging = folder.parent / f".{folder.name}.partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        save_model(model, staging, max_shard_bytes=max_shard_bytes)
        write_card(staging, model.config, model.origins, facts or CardFacts())
        for file in staging.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        staging.replace(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def save_model(model: IsoFormer, folder: Path, *, max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
    """Write `config.json` and weights into an existing folder; equal models give equal bytes.

    Weights above `max_shard_bytes` go into several files that an index names. LoRA has to be folded in before.
    """
    if is_adapted(model):
        raise ValueError("the model has low-rank terms that are not folded in: call merge_lora before saving")
    text = json.dumps(model.config.to_dict(), sort_keys=True, indent=1)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
    tensors = dict(sorted(model.state_dict().items()))
    shards = _shards(tensors, max_shard_bytes)
    if len(shards) == 1:
        _save(tensors, shards[0], folder / WEIGHTS_FILE)
        return
    place = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _save(tensors, names, folder / file)
        place |= dict.fromkeys(names, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(place.items()))}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _shards(tensors: Mapping[str, Tensor], limit: int) -> list[list[str]]:
    """Names in order, cut where the next tensor would exceed `limit` bytes; a larger tensor stands alone."""
    shards: list[list[str]] = [[]]
    used = 0
    for name, tensor in tensors.items():
        if shards[-1] and used + tensor.nbytes > limit:
            shards.append([])
            used = 0
        shards[-1].append(name)
        used += tensor.nbytes
    return shards


def _save(tensors: Mapping[str, Tensor], names: list[str], path: Path) -> None:
    save_file({name: tensors[name].detach().cpu().contiguous() for name in names}, path, metadata={"format": "pt"})


def load_model(folder: Path, device: torch.device | str = "cpu") -> IsoFormer:
    """Read what was saved, in evaluation mode; raises `InputError` naming every tensor that does not fit."""
    config = read_config(folder)
    files = CheckpointFiles(folder)
    with torch.random.fork_rng():  # reading a model must not move the caller's random numbers
        model = IsoFormer(config)
    load_tensors(model, {name: files.read(name) for name in files.tensors}, where=str(files.path))
    model.origins = read_origins(folder)
    return model.to(device).eval()


def read_config(folder: Path) -> IsoFormerConfig:
    """The configuration stored in a model's folder."""
    path = folder / CONFIG_FILE
    try:
        return IsoFormerConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(
            where=str(path),
            expected="a model's config.json",
            found=str(error),
            fix="Give a local folder that a model is in; nothing is downloaded.",
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
