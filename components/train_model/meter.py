"""How fast training goes: transcripts and tokens per second, arithmetic against what the device can do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from components.train_model.loader import Counts

MATRIX = {"cuda": 8192, "cpu": 1024}
REPEATS = 5


@dataclass
class Meter:
    """Counts what was computed since it was made; `peak_flops` per second is that of all ranks, 0 if unknown."""

    peak_flops: float
    total: Counts = field(default_factory=Counts)
    steps: int = 0
    micro_batches: int = 0
    distinct_windows: int = 0
    started: float = field(default_factory=time.monotonic)

    def add(self, counts: Counts, micro_batches: int, distinct_windows: int) -> None:
        """Note one optimizer step."""
        self.total = self.total + counts
        self.steps += 1
        self.micro_batches += micro_batches
        self.distinct_windows += distinct_windows

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done within does not count: the rates are those of training steps."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.started += time.monotonic() - begun

    @property
    def seconds(self) -> float:
        """Since it was made, without pauses."""
        return max(time.monotonic() - self.started, 1e-9)

    def figures(self, stalled_s: float) -> dict[str, float]:
        """Rates so far; `stalled_s` was spent waiting for input."""
        seconds, total = self.seconds, self.total
        return {
            "transcripts_per_second": total.transcripts / seconds,
            "tokens_per_second": total.tokens / seconds,
            "windows_per_transcript": total.windows / max(1, total.transcripts),
            # 1: each distinct window of a step is encoded once.
            "encodings_per_distinct_window": total.windows / max(1, self.distinct_windows),
            "padding_share": total.padding,
            "attention_padding_share": total.attention_padding,
            "tflops": total.flops / seconds / 1e12,
            "share_of_peak": total.flops / seconds / self.peak_flops if self.peak_flops else 0.0,
            "input_stall_share": stalled_s / seconds,
            "micro_batches_per_step": self.micro_batches / max(1, self.steps),
        }

    def line(self, stalled_s: float) -> str:
        """The rates for people."""
        figures = self.figures(stalled_s)
        peak = f" ({figures['share_of_peak']:.0%} of peak)" if self.peak_flops else ""
        return (
            f"{figures['transcripts_per_second']:,.1f} transcripts/s, {figures['tokens_per_second']:,.0f} tokens/s, "
            f"{figures['tflops']:.3g} TFLOP/s{peak}, {figures['input_stall_share']:.1%} waiting for input"
        )

    def summary(self, stalled_s: float) -> str:
        """All of it, at the end of a training."""
        figures = self.figures(stalled_s)
        return (
            f"{self.total.transcripts:,} transcripts in {self.seconds:,.0f} s: {self.line(stalled_s)}; "
            f"{figures['padding_share']:.1%} of operations for padding, "
            f"{figures['encodings_per_distinct_window']:.2f} encodings per distinct DNA window"
        )


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second that this process reaches in a large matrix product: the best of a few.

    Of random numbers: a GPU within its power limit multiplies zeros and ones faster than data.
    """
    size = MATRIX["cuda" if device.type == "cuda" else "cpu"]
    generator = torch.Generator(device).manual_seed(0)
    left = torch.randn(size, size, device=device, dtype=dtype, generator=generator)
    best = float("inf")
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    for _ in range(REPEATS):
        started = time.perf_counter()
        left @ left
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best
