"""A few real steps on this CPU, timed: what estimates are scaled by and compared with."""

from __future__ import annotations

import time

import torch

from model.batch import PackedBatch
from model.config import IsoFormerConfig
from model.isoformer import IsoFormer, TorchBatch

REPEATS = 4


def measured_step_seconds(config: IsoFormerConfig, batch: PackedBatch) -> float:
    """The shortest of a few forward and backward passes, fp32; the optimizer's pass is not in it."""
    with torch.random.fork_rng(devices=[]):
        model = IsoFormer(config).train()
        inputs = TorchBatch.from_packed(batch)
        seconds = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            model(inputs).square().mean().backward()
            seconds.append(time.perf_counter() - started)
            model.zero_grad()
    return min(seconds)
