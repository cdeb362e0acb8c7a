"""The largest batches that the data can produce, computed before hours are spent: memory and shapes show now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from components.train_model.sampler import Sizes, plan_step

if TYPE_CHECKING:
    from components.train_model.loop import Trainer

# Of each largest step: the second one runs while gradients of the first are held.
MICRO_BATCHES = 2


def preflight(trainer: Trainer) -> None:
    """Forward and backward on the largest batches, with room for the optimizer's state; changes nothing.

    Raises the `InputError` that training would raise hours later.
    """
    started = time.monotonic()
    model, sizes = trainer.model, trainer.train_data.sizes
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    # What Adam will hold; it is allocated after the first backward pass, when it could be too late.
    held = [torch.zeros_like(parameter) for parameter in trainer.parameters for _ in range(2)]
    computed = 0
    for rows in largest_batches(sizes, trainer.recipe.batch_transcripts):
        plan = plan_step(rows, sizes, trainer.recipe.budget, trainer.ranks)[trainer.rank]
        micro_batches = [trainer.loader.make(part) for part in plan[:MICRO_BATCHES]]
        torch.manual_seed(trainer.recipe.seed)
        trainer.compute_gradients(micro_batches, len(rows))
        trainer.optimizer.zero_grad(set_to_none=True)
        computed += len(micro_batches)
    del held
    with torch.no_grad():
        for name, value in model.named_buffers():
            value.copy_(buffers[name])
    if trainer.rank == 0:
        print(
            f"preflight: the {computed} largest micro-batches fit, {time.monotonic() - started:.1f} s"
            + _peak(trainer.device),
            flush=True,
        )


def largest_batches(sizes: Sizes, batch_transcripts: int) -> Iterator[np.ndarray]:
    """Batches that no batch of the data exceeds: in RNA tokens, in protein tokens, in distinct windows."""
    yield np.argsort(-sizes.rna, kind="stable")[:batch_transcripts]
    yield np.argsort(-sizes.protein, kind="stable")[:batch_transcripts]
    # Every transcript with a window of its own, and the costliest of those.
    _, first = np.unique(sizes.window_key, return_index=True)
    yield first[np.argsort(-sizes.row_cost[first], kind="stable")][:batch_transcripts]


def _peak(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    used, total = torch.cuda.max_memory_allocated(device), torch.cuda.mem_get_info(device)[1]
    return f", {used / 1e9:.1f} of {total / 1e9:.1f} GB of memory"
