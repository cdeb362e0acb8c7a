"""Checkpoints in the step's work folder: whole tensors as safetensors, the rest as JSON, written beside and renamed.

step-NNNNNNNN             whole, unless the disk damaged it; the newest few are kept
damaged-step-NNNNNNNN     found damaged at a start, out of the way; goes with the folder
.step-NNNNNNNN.partial    being written, or left by a kill; .step-NNNNNNNN.replaced: the one before it of the same step
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from components.artifacts import canonical_json, sha256_file, write_json
from components.train_model.disk import whole_or_not

STATE = "state.json"
CHECKPOINTS, BEST = "checkpoints", "best"


@dataclass
class Progress:
    """Where training stands: what, with the tensors, decides the next step.

    `step` counts optimizer steps done, `epoch` the running epoch, `step_in_epoch` the steps done in it. Batches and
    random numbers are functions of the recipe's seed and these counts, so no generator's state is needed.
    `resharded`: at which steps the number of processes or the sharding was changed, from what to what.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    best_metric: float | None = None
    best_epoch: int = -1
    epoch_loss_sum: float = 0.0
    epoch_transcripts: float = 0.0  # transcripts' worth of observed labels
    history: list[dict[str, Any]] = field(default_factory=list)
    resharded: list[dict[str, Any]] = field(default_factory=list)

    @property
    def best_step(self) -> int | None:
        """The step whose weights are the best so far, None where no epoch has been judged."""
        return next((int(entry["step"]) for entry in self.history if entry["epoch"] == self.best_epoch), None)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A whole checkpoint on disk; `identity` says of which run."""

    path: Path
    progress: Progress
    identity: dict[str, Any]

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors of one of its files, empty where it has none."""
        file = self.path / f"{name}.safetensors"
        if not file.is_file():
            return {}
        with safe_open(file, "pt") as handle:
            return {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 - not a mapping


class CheckpointWriter:
    """Writes checkpoints of one rank in order, beside the training if `background`.

    What is written must be copies that nobody changes. An error of the disk is raised by the next call, as `InputError`
    where it is full.
    """

    def __init__(self, *, background: bool) -> None:
        self._pool = ThreadPoolExecutor(1) if background else None
        self._pending: Future[None] | None = None

    def save(
        self,
        folder: Path,
        progress: Progress,
        identity: Mapping[str, Any],
        tensors: dict[str, dict[str, torch.Tensor]],
        *,
        kept: int,
        documents: Mapping[str, Any] | None = None,
    ) -> None:
        """Write one checkpoint; only the newest `kept` stay.

        `tensors` maps a file's name to its tensors, `documents` that of a JSON file to what it says.
        """
        state = {"progress": asdict(progress), "identity": dict(identity)}
        self.flush()  # one copy in memory at a time
        arguments = (folder, progress.step, state, tensors, dict(documents or {}), kept)
        if self._pool is None:
            _write(*arguments)
        else:
            self._pending = self._pool.submit(_write, *arguments)

    def flush(self) -> None:
        """Wait until all is on disk."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()


def _write(
    folder: Path,
    step: int,
    state: dict[str, Any],
    tensors: dict[str, dict[str, torch.Tensor]],
    documents: dict[str, Any],
    kept: int,
) -> None:
    final = folder / f"step-{step:08d}"
    staging, replaced = folder / f".{final.name}.partial", folder / f".{final.name}.replaced"
    size = sum(tensor.nbytes for group in tensors.values() for tensor in group.values())
    with whole_or_not(staging, f"a checkpoint of step {step}", size):
        staging.mkdir(parents=True)
        digests = {}
        for name, group in tensors.items():
            file = staging / f"{name}.safetensors"
            save_file(group, file)
            digests[file.name] = sha256_file(file)
        for name, content in documents.items():
            write_json(staging / name, content)
            digests[name] = sha256_file(staging / name)
        state["sha256"] = digests
        write_json(staging / STATE, {**state, "state_sha256": _digest(state)})
        for item in (*staging.iterdir(), staging):
            _sync(item)
        if final.exists():
            # Whenever a kill comes, one of the two is there.
            final.rename(replaced)
        staging.rename(final)
        _sync(folder)
    shutil.rmtree(replaced, ignore_errors=True)
    for old in [path for path in _newest_first(folder) if _step_of(path) <= step][kept:]:
        shutil.rmtree(old)


def take_up(work: Path) -> Checkpoint | None:
    """The newest whole checkpoint below a work folder, None where training starts anew; one process may call.

    Damaged ones are set aside; what a kill left half-written, and best models that the checkpoint knows nothing of, are
    removed: what is written from here on is neither counted nor chosen among them.
    """
    checkpoints, models = work / CHECKPOINTS, work / BEST
    for folder in (checkpoints, models):
        _tidy(folder)
    newest = find_newest(checkpoints)
    if newest is None and any(checkpoints.glob("damaged-*")):
        _say(f"all checkpoints in {checkpoints} are damaged: training starts anew, from step 0")
    known = -1 if newest is None or newest.progress.best_step is None else newest.progress.best_step
    for path in _newest_first(models):
        if _step_of(path) > known:
            shutil.rmtree(path)
    best = find_newest(models)
    if newest is not None and (best is None or best.progress.step != known):
        # The best weights are gone: those of the next epoch take their place.
        newest.progress.best_metric = None
    return newest


def find_newest(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint, None where there is none; damaged ones are renamed out of the way, and it is said.

    One process at a time may call.
    """
    for path in _newest_first(folder):
        try:
            return _verified(path)
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError) as error:
            # Any other error of the system may pass: the checkpoint is none the worse for it.
            aside = path.with_name(f"damaged-{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            _say(f"checkpoint {path.name} is damaged ({error}), now {aside}; trying the one before it")
    return None


def _tidy(folder: Path) -> None:
    """Remove what a kill left half-written, and put back what was to be replaced."""
    for path in folder.glob(".step-*.partial"):
        shutil.rmtree(path)
    for path in folder.glob(".step-*.replaced"):
        final = folder / path.name[1:].removesuffix(".replaced")
        if final.exists():
            shutil.rmtree(path)
        else:
            path.rename(final)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), key=_step_of, reverse=True)


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def open_step(folder: Path, step: int) -> Checkpoint:
    """The checkpoint of a step that another rank has verified."""
    path = folder / f"step-{step:08d}"
    return _checkpoint(path, json.loads((path / STATE).read_text(encoding="utf-8")))


def _verified(path: Path) -> Checkpoint:
    state = json.loads((path / STATE).read_text(encoding="utf-8"))
    if _digest({key: value for key, value in state.items() if key != "state_sha256"}) != state["state_sha256"]:
        raise ValueError(f"{STATE} does not have the content that was written")
    for name, digest in state["sha256"].items():
        if sha256_file(path / name) != digest:
            raise ValueError(f"{name} does not have the bytes that were written")
    return _checkpoint(path, state)


def _checkpoint(path: Path, state: dict[str, Any]) -> Checkpoint:
    return Checkpoint(path=path, progress=Progress(**state["progress"]), identity=dict(state["identity"]))


def _digest(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(dict(state)).encode()).hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
