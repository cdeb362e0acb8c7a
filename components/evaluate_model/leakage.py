"""A second look at the splits, by the judge itself: what the test split shares with what the model was fitted on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Leakage:
    """`shared`: how much of the test split train or valid hold too, by kind; `promised`: kinds that must be 0."""

    shared: dict[str, int]
    promised: tuple[str, ...]

    @property
    def found(self) -> dict[str, int]:
        """What must not be shared, and is."""
        return {kind: self.shared[kind] for kind in self.promised if self.shared[kind]}


def find_leakage(payload: Path, dataset: dict[str, Any]) -> Leakage:
    """Count test genes, RNAs, proteins and DNA windows that the training and validation splits hold too.

    Overlapping windows count only where the split's policy promises that there are none. The dataset's own audit was
    made when it was extracted; this one reads the table that the model is judged by.
    """
    import pyarrow.parquet as pq

    columns = ["gene_id", "rna", "protein", "split", "contig", "window_start", "window_end"]
    table = pq.read_table(payload / "transcripts.parquet", columns=columns)
    held_out = np.array([split == "test" for split in table["split"].to_pylist()], dtype=bool)
    shared = {
        "genes": _in_both(table["gene_id"].to_pylist(), held_out),
        "RNAs": _in_both(map(_digest, table["rna"].to_pylist()), held_out),
        "proteins": _in_both(map(_digest, table["protein"].to_pylist()), held_out),
        "DNA windows": _overlapping(
            np.array(table["contig"].to_pylist(), dtype=object),
            table["window_start"].to_numpy(),
            table["window_end"].to_numpy(),
            held_out,
        ),
    }
    apart = bool(dataset.get("split_policy", {}).get("exclude_overlapping_windows", False))
    return Leakage(shared, ("genes", "RNAs", "proteins", *(("DNA windows",) if apart else ())))


def _in_both(keys: Iterable[Any], held_out: np.ndarray) -> int:
    """How many distinct keys stand on both sides; None and empty ones are no keys."""
    test: set[Any] = set()
    other: set[Any] = set()
    for key, is_test in zip(keys, held_out.tolist(), strict=True):
        if key:
            (test if is_test else other).add(key)
    return len(test & other)


def _overlapping(contig: np.ndarray, start: np.ndarray, end: np.ndarray, held_out: np.ndarray) -> int:
    """How many test windows overlap a window of another split: all windows of one dataset are of one length."""
    count = 0
    for name in set(contig[held_out]):
        here = contig == name
        others = np.sort(start[here & ~held_out])
        if not len(others):
            continue
        first, last = start[here & held_out], end[here & held_out]
        length = int((last - first).max())
        # Of equal lengths, one overlaps where another starts less than a length before or after it.
        nearest_after = np.searchsorted(others, first - length, side="right")
        count += int((np.append(others, np.iinfo(np.int64).max)[nearest_after] < last).sum())
    return count


def _digest(sequence: str | None) -> bytes | None:
    return hashlib.blake2b(sequence.encode("ascii"), digest_size=16).digest() if sequence else None
