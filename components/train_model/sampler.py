"""Which transcripts make which optimizer step, and which of them a device computes at once.

All of it is a function of seed, epoch and data, the same on every rank: each rank plans for all and takes its part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.train_sections import BudgetParams
from model.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What each of N transcripts asks of a device.

    `window_key`: int64 (N,), equal for transcripts that share a DNA window. `rna`, `protein`: tokens, int64 (N,).
    `window_cost`, `row_cost`: work of a window and float64 (N,) of the rest of each transcript, in any one unit.
    """

    window_key: np.ndarray
    rna: np.ndarray
    protein: np.ndarray
    window_cost: float
    row_cost: np.ndarray

    @property
    def tokens(self) -> np.ndarray:
        """RNA and protein tokens, int64 (N,)."""
        return self.rna + self.protein


def epoch_batches(
    window_key: np.ndarray, batch_transcripts: int, *, seed: int, epoch: int, order: str = "windows"
) -> list[np.ndarray]:
    """Global batches of one epoch: int64 rows, `batch_transcripts` each, the rest in the last.

    Every row appears once. In the order "windows", transcripts that share a DNA window (equal `window_key`, (N,))
    stand together, so that a window is encoded once, and windows come in random order; else transcripts do.
    """
    rng = np.random.default_rng([seed, epoch])
    if order == "transcripts":
        rows = rng.permutation(len(window_key))
    else:
        groups, group_of_row = np.unique(window_key, return_inverse=True)
        rank_of_group = rng.permutation(len(groups))
        rows = np.lexsort((rng.random(len(window_key)), rank_of_group[group_of_row]))
    return [rows[start : start + batch_transcripts] for start in range(0, len(rows), batch_transcripts)]


def rank_slices(rows: np.ndarray, sizes: Sizes, ranks: int) -> list[np.ndarray]:
    """Divide a global batch among ranks so that the work of each is much the same, windows undivided."""
    if ranks == 1:
        return [rows]
    groups = _window_groups(rows, sizes.window_key)
    costs = np.array([sizes.window_cost + sizes.row_cost[group].sum() for group in groups])
    load = np.zeros(ranks)
    parts: list[list[np.ndarray]] = [[] for _ in range(ranks)]
    # The largest first, each to the rank that has least: never worse than 4/3 of the best division.
    for index in np.argsort(-costs, kind="stable"):
        rank = int(load.argmin())
        parts[rank].append(groups[index])
        load[rank] += costs[index]
    return [np.concatenate(part) if part else rows[:0] for part in parts]


def plan_step(rows: np.ndarray, sizes: Sizes, budget: BudgetParams, ranks: int = 1) -> list[list[np.ndarray]]:
    """Micro-batches of each rank for one global batch, equally many on each (some may be empty).

    Within a micro-batch rows are sorted by their tokens: neighbours of like length waste no attention.
    """
    plans = [_fill(part, sizes, budget) for part in rank_slices(rows, sizes, ranks)]
    count = max(map(len, plans))
    ordered = [[part[np.argsort(sizes.tokens[part], kind="stable")] for part in plan] for plan in plans]
    return [plan + [rows[:0]] * (count - len(plan)) for plan in ordered]


def check_budget(sizes: Sizes, budget: BudgetParams, transcript_ids: Sequence[str]) -> None:
    """Raise `InputError` where one transcript alone exceeds a budget."""
    for name, counts in (("rna_tokens", sizes.rna), ("protein_tokens", sizes.protein)):
        limit = getattr(budget, name)
        if limit is not None and len(counts) and counts.max() > limit:
            longest = int(counts.argmax())
            raise InputError(
                where=f"train.budget.{name}",
                expected=f"at least the {counts.max():,} tokens of {transcript_ids[longest]}",
                found=f"{limit:,}",
                fix=f"Set train.budget.{name} to {counts.max()} or more, or lower max_tokens of the tower.",
            )


def _fill(rows: np.ndarray, sizes: Sizes, budget: BudgetParams) -> list[np.ndarray]:
    """Fill micro-batches up to the budget, first fit; a window is divided only if its transcripts exceed it alone."""
    limits = np.array(
        [
            np.inf if limit is None else limit
            for limit in (budget.transcripts, budget.dna_windows, budget.rna_tokens, budget.protein_tokens)
        ]
    )
    if np.isinf(limits).all():
        return [rows]
    units = [piece for group in _window_groups(rows, sizes.window_key) for piece in _pieces(group, sizes, limits)]
    # Longest first: micro-batches of like lengths, and small units left to fill the gaps.
    units.sort(key=lambda unit: -int(sizes.tokens[unit].max()))
    filled: list[tuple[list[np.ndarray], np.ndarray]] = []
    for unit in units:
        need = _need(unit, sizes)
        place = next((item for item in filled if (item[1] + need <= limits).all()), None)
        if place is None:
            filled.append(([unit], need))
        else:
            place[0].append(unit)
            place[1][:] += need
    return [np.concatenate(units) for units, _ in filled] or [rows]


def _pieces(group: np.ndarray, sizes: Sizes, limits: np.ndarray) -> list[np.ndarray]:
    """A window's transcripts, in as many pieces as the budget needs."""
    pieces: list[list[int]] = []
    used = np.full(4, np.inf)
    for row in group.tolist():
        need = _need(np.array([row]), sizes)
        need[1] = 0 if pieces else need[1]  # the window is there already
        if not pieces or (used + need > limits).any():
            pieces.append([row])
            used = _need(np.array([row]), sizes)
        else:
            pieces[-1].append(row)
            used = used + need
    return [np.array(piece) for piece in pieces]


def _need(rows: np.ndarray, sizes: Sizes) -> np.ndarray:
    """Transcripts, windows, RNA tokens and protein tokens of rows that share a window, float64 (4,)."""
    return np.array([len(rows), 1, sizes.rna[rows].sum(), sizes.protein[rows].sum()], dtype=np.float64)


def _window_groups(rows: np.ndarray, window_key: np.ndarray) -> list[np.ndarray]:
    """Rows by window, in order of first appearance."""
    keys, first, inverse = np.unique(window_key[rows], return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    place = np.empty(len(keys), dtype=np.int64)
    place[order] = np.arange(len(keys))
    sorted_rows = rows[np.argsort(place[inverse], kind="stable")]
    return np.split(sorted_rows, np.cumsum(np.bincount(place[inverse], minlength=len(keys)))[:-1]) if len(rows) else []
