"""Which transcripts make which optimizer step: a function of seed and epoch alone, the same on every rank."""

from __future__ import annotations

import numpy as np


def epoch_batches(window_key: np.ndarray, batch_transcripts: int, *, seed: int, epoch: int) -> list[np.ndarray]:
    """Global batches of one epoch: int64 rows, `batch_transcripts` each, the rest in the last.

    Every row appears once. Transcripts that share a DNA window (equal `window_key`, (N,)) stand together, so that a
    window is encoded once; windows come in random order.
    """
    rng = np.random.default_rng([seed, epoch])
    groups, group_of_row = np.unique(window_key, return_inverse=True)
    rank_of_group = rng.permutation(len(groups))
    order = np.lexsort((rng.random(len(window_key)), rank_of_group[group_of_row]))
    return [order[start : start + batch_transcripts] for start in range(0, len(order), batch_transcripts)]


def rank_slice(rows: np.ndarray, token_counts: np.ndarray, *, rank: int, ranks: int) -> np.ndarray:
    """The part of a global batch that one rank computes: equal counts (±1), contiguous, so that windows stay together.

    Within the part, transcripts are sorted by their tokens: neighbours of like length waste no attention.
    """
    part = np.array_split(rows, ranks)[rank]
    return part[np.argsort(token_counts[part], kind="stable")]
