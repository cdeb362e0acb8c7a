"""Checkpoints in the step's work folder: safetensors and JSON, written beside and renamed."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from components.artifacts import sha256_file, write_json

KEPT = 2
STATE = "state.json"


@dataclass
class Progress:
    """Where training stands: what, with the tensors, decides the next step.

    `step` counts optimizer steps done, `epoch` the running epoch, `step_in_epoch` the steps done in it.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    best_metric: float | None = None
    best_epoch: int = -1
    epoch_loss_sum: float = 0.0
    epoch_transcripts: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


def save_checkpoint(folder: Path, progress: Progress, tensors: dict[str, dict[str, torch.Tensor]]) -> None:
    """Write one checkpoint: `tensors` maps a file's name to its tensors; only the newest `KEPT` stay."""
    final = folder / f"step-{progress.step:08d}"
    staging = folder / f".{final.name}.partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    digests = {}
    for name, group in tensors.items():
        file = staging / f"{name}.safetensors"
        save_file({key: value.detach().cpu().contiguous() for key, value in group.items()}, file)
        digests[file.name] = sha256_file(file)
    write_json(staging / STATE, {"progress": asdict(progress), "sha256": digests})
    for file in staging.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    shutil.rmtree(final, ignore_errors=True)
    staging.rename(final)
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old)


def load_newest(folder: Path) -> tuple[Progress, dict[str, dict[str, torch.Tensor]]] | None:
    """The newest whole checkpoint, None where there is none; a damaged one is passed over, and said so."""
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            state = json.loads((path / STATE).read_text(encoding="utf-8"))
            for name, digest in state["sha256"].items():
                if sha256_file(path / name) != digest:
                    raise ValueError(f"{name} does not have the bytes that were written")
            tensors = {name.removesuffix(".safetensors"): load_file(path / name) for name in state["sha256"]}
            return Progress(**state["progress"]), tensors
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"checkpoint {path.name} is damaged ({error}); trying the one before it", file=sys.stderr, flush=True)
    return None


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state as named tensors `index.key`."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{key}": torch.as_tensor(value) for index, entry in state.items() for key, value in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Undo `optimizer_tensors`."""
    whole = optimizer.state_dict()
    whole["state"] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        whole["state"].setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(whole)
