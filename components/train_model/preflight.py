"""The largest micro-batches of a training, computed before hours are spent: memory and shapes show now."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from components.train_model.sampler import Sizes, epoch_batches, plan_step
from components.train_sections import TrainParams

if TYPE_CHECKING:
    from components.train_model.loop import Trainer

# Of a step that is divided: the second one runs while gradients of the first are held.
MICRO_BATCHES = 2
# Steps that are planned to find the largest: every epoch of small data, three of the published size, in some seconds.
PLANNED_STEPS = 4096


def preflight(trainer: Trainer) -> None:
    """Forward and backward on the largest micro-batches, with room for the optimizer's state; changes nothing.

    Each rank computes the same ones. Raises the `InputError` that training would raise hours later.
    """
    started = time.monotonic()
    model, sizes = trainer.model, trainer.train_data.sizes
    largest, divided = largest_micro_batches(sizes, trainer.recipe, trainer.ranks)
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    # What Adam will hold; it is allocated after the first backward pass, when it could be too late.
    held = [torch.zeros_like(parameter) for parameter in trainer.parameters for _ in range(2)]
    for rows in largest:
        torch.manual_seed(trainer.recipe.seed)
        trainer.compute_gradients([trainer.loader.make(rows)] * (MICRO_BATCHES if divided else 1), float(len(rows)))
        trainer.optimizer.zero_grad(set_to_none=True)
    del held
    with torch.no_grad():
        for name, value in model.named_buffers():
            value.copy_(buffers[name])
    if trainer.rank == 0:
        windows, rna, protein = (
            max(counts) for counts in zip(*(_contents(part, sizes) for part in largest), strict=True)
        )
        print(
            f"preflight: the {len(largest)} largest micro-batches fit (up to {windows:,} windows, {rna:,} RNA and "
            f"{protein:,} protein tokens), {time.monotonic() - started:.1f} s{_peak(trainer.device)}",
            flush=True,
        )


def largest_micro_batches(sizes: Sizes, recipe: TrainParams, ranks: int) -> tuple[list[np.ndarray], bool]:
    """Rows of the micro-batches that have the most windows, RNA tokens, protein tokens, tokens, and work of any rank.

    They are sought among those of the first `PLANNED_STEPS` steps and of steps as large as the data can make them.
    Also returned: whether a rank ever computes more than one in a step.
    """
    most = [(-1.0, -1.0)] * 5
    largest: list[np.ndarray] = [np.empty(0, dtype=np.int64)] * len(most)
    divided = False
    for batch in itertools.chain(_planned_batches(sizes, recipe), _extreme_batches(sizes, recipe.batch_transcripts)):
        plans = plan_step(batch, sizes, recipe.budget, ranks)
        divided = divided or len(plans[0]) > 1
        for rows in itertools.chain.from_iterable(plans):
            windows, rna, protein = _contents(rows, sizes)
            work = windows * sizes.window_cost + float(sizes.row_cost[rows].sum())
            for index, count in enumerate((windows, rna, protein, rna + protein, work)):
                # Many reach a budget's bound: of those the one with most work.
                if (count, work) > most[index]:
                    most[index], largest[index] = (count, work), rows
    return list({rows.tobytes(): rows for rows in largest}.values()), divided


def _planned_batches(sizes: Sizes, recipe: TrainParams) -> Iterator[np.ndarray]:
    """Global batches of the first steps of the training."""
    epochs = (
        epoch_batches(
            sizes.window_key, recipe.batch_transcripts, seed=recipe.seed, epoch=epoch, order=recipe.batch_order
        )
        for epoch in range(recipe.max_epochs)
    )
    steps = PLANNED_STEPS if recipe.max_steps is None else min(PLANNED_STEPS, recipe.max_steps)
    return itertools.islice(itertools.chain.from_iterable(epochs), steps)


def _extreme_batches(sizes: Sizes, batch_transcripts: int) -> Iterator[np.ndarray]:
    """Global batches that no other exceeds in RNA tokens, protein tokens or distinct windows, and hardly in all."""
    yield np.argsort(-sizes.rna, kind="stable")[:batch_transcripts]
    yield np.argsort(-sizes.protein, kind="stable")[:batch_transcripts]
    # Every transcript with a window of its own: the costliest, and the shortest, whose tokens fill no budget first.
    _, first, inverse = np.unique(sizes.window_key, return_index=True, return_inverse=True)
    yield first[np.argsort(-sizes.row_cost[first], kind="stable")][:batch_transcripts]
    yield first[np.argsort(sizes.tokens[first], kind="stable")][:batch_transcripts]
    # Windows with most tokens, whole: few windows fill a budget of tokens.
    of_window = np.bincount(inverse, weights=sizes.tokens)[inverse]
    yield np.lexsort((inverse, -of_window))[:batch_transcripts]


def _contents(rows: np.ndarray, sizes: Sizes) -> tuple[int, int, int]:
    """Distinct windows, RNA tokens and protein tokens."""
    return len(np.unique(sizes.window_key[rows])), int(sizes.rna[rows].sum()), int(sizes.protein[rows].sum())


def _peak(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    used, total = torch.cuda.max_memory_allocated(device), torch.cuda.mem_get_info(device)[1]
    return f", {used / 1e9:.1f} of {total / 1e9:.1f} GB of memory"
