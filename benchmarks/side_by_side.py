"""Timing of several ways to do one thing, taken in turns so that a busy machine slows all of them alike."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where both sides run: a device, and the precision that is usual there (fp32 on a CPU, bf16 on a GPU)."""

    device: torch.device
    dtype: torch.dtype

    @property
    def on_gpu(self) -> bool:
        """Whether the device is one that works behind the host's back."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """`--device cpu|cuda`."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: bf16 on the first GPU.")


def set_up(device: str = "cpu") -> Place:
    """All cores that this process may use, the device, and the line that says so."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: no CUDA device here, or a build of torch for CPUs")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    if device == "cuda":
        print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}, bf16")
        return Place(device=torch.device("cuda"), dtype=torch.bfloat16)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} CPU threads, fp32")
    return Place(device=torch.device("cpu"), dtype=torch.float32)


def best_seconds(
    ways: Mapping[str, Callable[[], object]], repeats: int, wait: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """The shortest of `repeats` runs of each way, after one that warms up; ways take turns.

    `wait` returns when a device has done what a way left to it.
    """
    best = dict.fromkeys(ways, float("inf"))
    for turn in range(repeats + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            wait()
            if turn:
                best[name] = min(best[name], time.perf_counter() - started)
    return best


def print_ratio(claim: str, ratio: float, limit: float) -> None:
    """One claim: what was measured, what it should be, whether it holds."""
    print(f"{claim}: {ratio:.2f}x, aim {limit:.1f}x: {'holds' if ratio >= limit else 'DOES NOT HOLD'}")
