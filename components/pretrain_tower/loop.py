"""The pre-training loop: one process, a cosine of learning rates, checkpoints from which it goes on bit for bit.

Which rows make a step is a function of seed and step alone, so the step's number is all the state besides tensors.
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from components.harness import StepStoppedError
from components.progress import track
from components.sections import PretrainParams

_STATE = "state.safetensors"


class Objective(Protocol):
    """What is learned, of rows 0 … len − 1."""

    unit: str

    @property
    def module(self) -> nn.Module:
        """The encoder, as `encoder`, with the head that is thrown away."""

    def __len__(self) -> int: ...

    def loss(self, rows: np.ndarray, step: int, device: torch.device) -> Tensor:
        """The loss of one step, a scalar."""

    def sums(self, rows: np.ndarray, device: torch.device) -> np.ndarray:
        """Sums over validation rows."""

    def figures(self, sums: np.ndarray) -> dict[str, float]:
        """Validation figures of added-up sums, `loss` among them."""


class Pretrainer:
    """Trains an objective's module; `history` holds the validation figures, the first before any step."""

    def __init__(self, objective: Objective, recipe: PretrainParams, work: Path, device: torch.device) -> None:
        self.objective, self.recipe, self.work, self.device = objective, recipe, work, device
        self.module = objective.module.to(device)
        self.optimizer = torch.optim.AdamW(
            self.module.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.train_rows, self.valid_rows = split_rows(len(objective), recipe)
        self.step = 0
        self.history: list[dict[str, float]] = []
        self._stop = False

    def run(self) -> None:
        """Train to the end; goes on from the newest checkpoint. SIGTERM saves and raises `StepStoppedError`."""
        self._resume()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._request_stop)
        if not self.history:
            self._validate()
        with track(self.recipe.steps, "pre-train", "steps") as advance:
            advance(self.step)
            while self.step < self.recipe.steps:
                self._train_step()
                advance(1)
                if self.step % self.recipe.valid_every_steps == 0 or self.step == self.recipe.steps:
                    self._validate()
                if self._stop or self.step % self.recipe.checkpoint_every_steps == 0:
                    self._save()
                if self._stop:
                    raise StepStoppedError(f"stopped at step {self.step}; the same command goes on from there")

    def _train_step(self) -> None:
        recipe = self.recipe
        self.module.train()
        # Dropout draws from here: the same numbers whether or not the run was stopped before.
        torch.manual_seed(int(np.random.SeedSequence([recipe.seed, self.step]).generate_state(1)[0]))
        generator = np.random.default_rng([recipe.seed, self.step])
        count = min(recipe.batch_sequences, len(self.train_rows))
        rows = generator.choice(self.train_rows, size=count, replace=False)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * schedule(self.step, recipe)
        loss = self.objective.loss(rows, self.step, self.device)
        if not torch.isfinite(loss):
            raise RuntimeError(f"the loss of step {self.step} is {float(loss)}: lower pretrain.learning_rate")
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), recipe.gradient_clip_norm)
        self.optimizer.step()
        self.step += 1

    def _validate(self) -> None:
        self.module.eval()
        size = self.recipe.batch_sequences
        with torch.inference_mode():
            pieces = [
                self.objective.sums(self.valid_rows[start : start + size], self.device)
                for start in range(0, len(self.valid_rows), size)
            ]
        figures = self.objective.figures(np.sum(pieces, axis=0))
        self.history.append({"step": self.step, **{name: round(value, 6) for name, value in figures.items()}})
        told = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        print(f"step {self.step:,}: validation {told}", flush=True)

    def _request_stop(self, *_: object) -> None:
        self._stop = True

    def _save(self) -> None:
        tensors = {f"module.{name}": value.contiguous() for name, value in self.module.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
        partial = self.work / f".{_STATE}.partial"
        # Tied tensors stand once in a state_dict's storage; a copy of each keeps the file plain.
        told = {"step": str(self.step), "history": json.dumps(self.history)}
        save_file({name: value.detach().cpu().clone() for name, value in tensors.items()}, partial, metadata=told)
        with partial.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(partial, self.work / _STATE)

    def _resume(self) -> None:
        path = self.work / _STATE
        if not path.is_file():
            return
        try:
            with safe_open(path, "pt") as handle:
                tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - not a mapping
                told = handle.metadata()
        except SafetensorError as error:
            raise RuntimeError(f"the checkpoint {path} is damaged ({error}): delete it to start anew") from None
        prefix = "module."
        self.module.load_state_dict({name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)})
        whole = self.optimizer.state_dict()
        whole["state"] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".", 2)
                whole["state"].setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict(whole)
        self.step, self.history = int(told["step"]), json.loads(told["history"])
        print(f"resuming at step {self.step:,}", flush=True)


def split_rows(count: int, recipe: PretrainParams) -> tuple[np.ndarray, np.ndarray]:
    """Rows for training and for validation, at least one of each: int64, ascending."""
    order = np.random.default_rng([recipe.seed, count]).permutation(count)
    held_out = min(max(1, round(recipe.valid_share * count)), count - 1)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def schedule(step: int, recipe: PretrainParams) -> float:
    """Share of the learning rate at a step: a linear warm-up, then a cosine to 0."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))
