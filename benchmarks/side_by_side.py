"""Timing of several ways to do one thing, taken in turns so that a busy machine slows all of them alike."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

import torch


def best_seconds(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The shortest of `repeats` runs of each way, after one that warms up; ways take turns."""
    best = dict.fromkeys(ways, float("inf"))
    for turn in range(repeats + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if turn:
                best[name] = min(best[name], time.perf_counter() - started)
    return best


def set_up() -> None:
    """All cores that this process may use, and the line that says so."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} CPU threads, fp32, evaluation mode")


def print_ratio(claim: str, ratio: float, limit: float) -> None:
    """One claim: what was measured, what it should be, whether it holds."""
    print(f"{claim}: {ratio:.2f}x, aim {limit:.1f}x: {'holds' if ratio >= limit else 'DOES NOT HOLD'}")
