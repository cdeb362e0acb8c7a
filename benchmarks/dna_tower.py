"""Claim: the Enformer trunk is at least 1.3 times as fast as `enformer-pytorch` on a CPU, with equal states.

    python -m benchmarks.dna_tower [--window-bp 24576] [--windows 1] [--dim 1536] [--depth 11]
    python -m benchmarks.dna_tower --device cuda --window-bp 196608 --windows 4

The published widths, on a window that a CPU finishes in seconds; --window-bp 196608 is the published one. Then the same
with one saving undone at a time. On a GPU both sides compute in bf16 and the aim is twice the peer's speed.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from benchmarks.side_by_side import add_device_option, best_seconds, print_ratio, set_up
from components.train_model.parallel import blocks_of
from model.encoders import enformer
from model.estimate import window_flops
from tests.model.test_enformer_parity import published_pair

BP_PER_POSITION, PUBLISHED_CROP = 128, 320 / 1536


def plain_pool(self: enformer.AttentionPool, x_WLC: Tensor) -> Tensor:
    """Logits at every position, and a softmax."""
    logits = enformer.convolve(x_WLC, self.logits.weight, None).unflatten(1, (-1, 2))
    return (x_WLC.unflatten(1, (-1, 2)) * logits.softmax(dim=2)).sum(dim=2)


def plain_convolve(x_WLC: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Channels second, as published code does."""
    return F.conv1d(x_WLC.transpose(1, 2).contiguous(), weight, bias, padding=weight.shape[2] // 2).transpose(1, 2)


def plain_shift(logits_WHQR: Tensor, length: int) -> Tensor:
    """Pad, reshape, cut: two copies of the logits."""
    *outer, queries, distances = logits_WHQR.shape
    padded = F.pad(logits_WHQR, (1, 0)).reshape(*outer, distances + 1, queries)[..., 1:, :]
    return padded.reshape(*outer, queries, distances)[..., :length].contiguous()


SAVINGS: dict[str, tuple[Any, str, Any]] = {
    "pooling logits of pair differences": (enformer.AttentionPool, "forward", plain_pool),
    "channels last": (enformer, "convolve", plain_convolve),
    "relative shift without copies": (enformer, "relative_shift", plain_shift),
}


@contextmanager
def whole_last_layer(model: enformer.Enformer) -> Iterator[None]:
    """Compute all rows of the last layer, then crop."""
    kept, model.kept = model.kept, (0, model.kept[1] + model.kept[0])
    try:
        yield
    finally:
        model.kept = kept


def compiled(model: enformer.Enformer) -> enformer.Enformer:
    """A copy as `train.compile` makes it."""
    copied = copy.deepcopy(model)
    for block in blocks_of(copied):
        block.compile(dynamic=True)
    return copied


def main() -> None:
    """Print ours, theirs, and ours with each saving undone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_device_option(parser)
    parser.add_argument("--window-bp", type=int, default=24_576)
    parser.add_argument("--windows", type=int, default=1)
    parser.add_argument("--dim", type=int, default=1536)
    parser.add_argument("--depth", type=int, default=11)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    place = set_up(arguments.device)
    positions = arguments.window_bp // BP_PER_POSITION
    kept = positions - 2 * round(positions * PUBLISHED_CROP)
    ours, theirs = published_pair(
        dim=arguments.dim, depth=arguments.depth, heads=8, stages=6, positions=positions, kept=kept
    )
    ours, theirs = ours.to(place.device, place.dtype), theirs.to(place.device, place.dtype)
    codes = np.random.default_rng(0).integers(0, 4, (arguments.windows, arguments.window_bp)).astype(np.uint8)
    windows = torch.from_numpy(codes).to(place.device)
    one_hot = F.one_hot(windows.long(), 4).to(place.dtype)

    def run_ours() -> Tensor:
        with torch.inference_mode():
            return ours(windows)  # type: ignore[no-any-return]

    def run_theirs() -> Tensor:
        with torch.inference_mode():
            return theirs(one_hot, return_only_embeddings=True)  # type: ignore[no-any-return]

    ways: dict[str, Callable[[], object]] = {"ours": run_ours, "enformer-pytorch": run_theirs}
    for name, (owner, attribute, plain) in SAVINGS.items():
        ways[f"without {name}"] = patch.object(owner, attribute, plain)(run_ours)
    ways["without cropped last layer"] = whole_last_layer(ours)(run_ours)
    if place.on_gpu:
        fused = compiled(ours)

        def run_compiled() -> Tensor:
            with torch.inference_mode():
                return fused(windows)  # type: ignore[no-any-return]

        ways["ours, blocks compiled"] = run_compiled
    difference = (run_ours() - run_theirs()).abs().max().item()
    seconds = best_seconds(ways, arguments.repeats, place.wait)
    flops = arguments.windows * window_flops(ours.config, arguments.window_bp)
    print(f"{arguments.windows} window(s) of {arguments.window_bp:,} bp, {flops / 1e12:.2f} TFLOP")
    print(f"largest difference of states: {difference:.1e}")
    for name, value in seconds.items():
        print(f"{name:45} {value:7.3f} s  {value / seconds['ours']:.2f} of ours  {flops / value / 1e9:6.0f} GFLOP/s")
    print_ratio(
        "ours against enformer-pytorch", seconds["enformer-pytorch"] / seconds["ours"], 2.0 if place.on_gpu else 1.3
    )


if __name__ == "__main__":
    main()
