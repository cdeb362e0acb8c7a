"""Which parameters learn how fast: groups by tower and kind, their schedule, their state, and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from components.train_model.parallel import like
from components.train_sections import TrainParams
from model.isoformer import IsoFormer


def make_optimizer(model: IsoFormer, recipe: TrainParams) -> torch.optim.Optimizer:
    """Adam or AdamW over all parameters that are trained at some time; matrices decay, other vectors do not."""
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in trained_at_some_time(model, recipe):
        groups.setdefault((part_of(name), parameter.ndim > 1), []).append(parameter)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(
        [
            {
                "params": parameters,
                "weight_decay": recipe.weight_decay if matrices else 0.0,
                "base_lr": base_rate(part, recipe),
            }
            for (part, matrices), parameters in groups.items()
        ],
        lr=recipe.learning_rate,
        betas=(0.9, recipe.adam_beta2),
    )


def trained_at_some_time(model: IsoFormer, recipe: TrainParams) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters that are trained now, and those of towers that will be unfrozen."""
    for name, parameter in model.named_parameters():
        tower = getattr(recipe.towers, part_of(name), None)
        if parameter.requires_grad or (tower is not None and tower.unfreeze_epoch is not None):
            yield name, parameter


def part_of(name: str) -> str:
    """The part of the network that a parameter belongs to: dna, rna, protein, fusion or head."""
    first, second = name.split(".")[:2]
    return second if first == "encoders" else first


def base_rate(part: str, recipe: TrainParams) -> float:
    """The learning rate of a part before the schedule."""
    own = {
        "fusion": recipe.fusion_learning_rate,
        "head": recipe.head_learning_rate,
        **{name: tower.learning_rate for name, tower in recipe.towers},
    }[part]
    return recipe.learning_rate if own is None else own


def scheduled(rate: float, step: int, total_steps: float, recipe: TrainParams) -> float:
    """Linear warm-up, then constant, or cosine to a hundredth at the last step."""
    if step < recipe.warmup_steps:
        return rate * (step + 1) / recipe.warmup_steps
    if recipe.schedule == "constant":
        return rate
    share = (step - recipe.warmup_steps) / max(1, total_steps - recipe.warmup_steps)
    return rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as named tensors `parameter.key`."""
    return {
        f"{name}.{key}": torch.as_tensor(value)
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Undo `optimizer_tensors`, sliced as the parameters are."""
    states: dict[str, dict[str, Any]] = {}
    for name, value in tensors.items():
        parameter_name, key = name.rsplit(".", 1)
        states.setdefault(parameter_name, {})[key] = value
    for name, parameter in model.named_parameters():
        if name in states:
            # Adam keeps its count of steps in main memory.
            optimizer.state[parameter] = {
                key: value if key == "step" else like(parameter, value) for key, value in states[name].items()
            }


class AveragedWeights:
    """An exponential moving average of the trained parameters; off with decay 0."""

    def __init__(self, model: IsoFormer, recipe: TrainParams) -> None:
        self.model, self.decay = model, recipe.ema_decay
        named = trained_at_some_time(model, recipe) if self.decay else ()
        self.tensors = {name: parameter.detach().clone() for name, parameter in named}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the parameters after optimizer step `step`, counted from 0."""
        if self.tensors:
            # Short averages first: the initial weights would otherwise weigh on a short run.
            decay = min(self.decay, (1 + step) / (10 + step))
            for name, parameter in self.model.named_parameters():
                if name in self.tensors:
                    self.tensors[name].lerp_(parameter, 1 - decay)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what a checkpoint held."""
        for name, value in tensors.items():
            self.tensors[name].copy_(like(self.tensors[name], value))

    def __enter__(self) -> None:
        """Within the block the model has the averaged weights; outside, its own."""
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self.model.named_parameters():
            if name in self.tensors:
                own = parameter.detach().clone()
                parameter.copy_(self.tensors[name])
                self.tensors[name].copy_(own)
