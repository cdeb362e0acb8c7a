"""Claim: a training step takes at most 1/1.8 of the time of a straightforward one with the same result, on the lengths
and start sites of real annotation; with five isoforms on each start site at most 1/3.

    python -m benchmarks.training_step [--rounds 2] [--threads 1] [--transcripts 16]

Straightforward: `enformer-pytorch` and `transformers` towers, batches padded to their longest, each isoform's DNA
encoded anew. Both networks have the same weights and sizes; losses and gradients are compared before time is taken.
Then each of our savings is taken back, the others kept: what it gains. Ways take turns; the shortest round counts.
Seconds are processor time, of one thread by default: what else a shared machine does hardly changes them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.dna_tower import SAVINGS
from benchmarks.real_lengths import random_batch, read_lengths
from benchmarks.straightforward import Straightforward, padded, same_network, small_config
from components.train_model.sampler import epoch_batches
from model.batch import PackedBatch
from model.encoders.enformer import Enformer
from model.estimate import Workload, forward_flops
from model.isoformer import IsoFormer, TokenInput, TorchBatch

ISOFORMS = 5
SITES = 3
LIMITS = {"real": 1.8, "five": 3.0}
# Of the loss and of the gradient's norm, relative: the same sums in another order, in float32.
SAME = 1e-5
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to compute a step: a network, its optimizer, and how it reads the batch."""

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    read: Callable[[PackedBatch], Any]
    within: Callable[[], AbstractContextManager[Any]] = field(default=nullcontext)

    def step(self, packed: PackedBatch) -> tuple[float, float]:
        """Input, forward, backward, clipping, Adam; returns the loss and the gradient's norm."""
        labels = torch.randn(packed.size, 30, generator=torch.Generator().manual_seed(0))
        self.network.train()
        with self.within():
            loss = (self.network(self.read(packed)) - labels).square().mean()
            loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item(), norm.item()


def our_batch(packed: PackedBatch, *, share_windows: bool = True, pad: bool = False) -> TorchBatch:
    """The batch for our network, with savings taken back."""
    if not share_windows:
        windows = packed.windows[packed.window_of_transcript]
        packed = replace(packed, windows=windows, window_of_transcript=np.arange(packed.size))
    batch = TorchBatch.from_packed(packed, CPU)
    if not pad:
        return batch
    plain = padded(packed, CPU)
    tokens = {
        name: TokenInput.from_padded(plain[name], plain[f"{name}_mask"].sum(dim=1)) for name in ("rna", "protein")
    }
    return replace(batch, **tokens)


@contextmanager
def cropped_late(encoder: Enformer) -> Iterator[None]:
    """Compute all rows of the last layer, then crop."""
    first, last = kept = encoder.kept
    encoder.kept = (0, first + last)
    crop = encoder.final.register_forward_pre_hook(lambda _, inputs: (inputs[0][:, first:last], *inputs[1:]))
    try:
        yield
    finally:
        crop.remove()
        encoder.kept = kept


def ways_of(peer: Straightforward, ours: IsoFormer) -> dict[str, Way]:
    """Straightforward; ours; ours with savings taken back, all together and one at a time."""
    # So small a rate that every round computes the same step.
    adams = {network: torch.optim.Adam(network.parameters(), lr=1e-12) for network in (peer, ours)}

    def way(read: Callable[[PackedBatch], Any] = our_batch, **more: Any) -> Way:
        return Way(network=ours, optimizer=adams[ours], read=read, **more)

    neither = way(lambda packed: our_batch(packed, share_windows=False, pad=True))
    return {
        "straightforward": Way(network=peer, optimizer=adams[peer], read=lambda packed: padded(packed, CPU)),
        "ours": way(),
        "ours, padded and DNA for each: towers alone": neither,
        "without windows shared": way(lambda packed: our_batch(packed, share_windows=False)),
        "without packing of tokens": way(lambda packed: our_batch(packed, pad=True)),
        **{
            f"without {name}": way(within=lambda saving=saving: patch.object(*saving))
            for name, saving in SAVINGS.items()
        },
        "without cropped last layer": way(within=lambda: cropped_late(ours.encoders["dna"])),  # type: ignore[arg-type]
    }


def compare(title: str, packed: PackedBatch, ways: Mapping[str, Way], rounds: int, limit: float) -> bool:
    """Print one table; whether the limit holds."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.process_time()
            way.step(packed)
            best[name] = min(best[name], time.process_time() - started)
    windows, base = len(packed.windows), best["straightforward"]
    print(f"\n{title}: {packed.size} transcripts on {windows} windows, {packed.size / windows:.2f} each")
    print("| step | s | transcripts/s | × straightforward | ours beside it |\n|---|---|---|---|---|")
    for name, seconds in best.items():
        print(
            f"| {name} | {seconds:.2f} | {packed.size / seconds:.2f} | {base / seconds:.2f} | "
            f"{seconds / best['ours']:.2f} |"
        )
    gain = base / best["ours"]
    print(f"gain {gain:.2f}, limit {limit}: {'holds' if gain >= limit else 'DOES NOT HOLD'}", flush=True)
    return gain >= limit


def largest_difference(packed: PackedBatch, ways: Mapping[str, Way]) -> float:
    """Of loss and gradient norm between any way and the straightforward one, relative."""
    wanted = np.array(ways["straightforward"].step(packed))
    return max(float(np.abs(np.array(way.step(packed)) / wanted - 1).max()) for way in ways.values())


def main() -> None:
    """Compare on two batches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--transcripts", type=int, default=16)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    config = small_config()
    peer = Straightforward(config)
    ours = same_network(peer, config)
    ways = ways_of(peer, ours)
    lengths = read_lengths()
    print(f"lengths and start sites: {lengths.source}; {sum(p.numel() for p in ours.parameters()):,} parameters")
    rows = epoch_batches(lengths.start_site, arguments.transcripts, seed=0, epoch=0)[0]
    real = random_batch(lengths, rows, lengths.start_site[rows], config)
    five = random_batch(lengths, rows[: SITES * ISOFORMS], np.arange(SITES * ISOFORMS) // ISOFORMS, config)
    flops = forward_flops(config, Workload.of(real, config))
    print(
        f"share of operations: DNA {flops.dna / flops.total:.0%}, RNA {flops.rna / flops.total:.0%}, "
        f"protein {flops.protein / flops.total:.0%}, fusion and head {(flops.fusion + flops.head) / flops.total:.0%}"
    )
    # Two isoforms of one start site, one of another: short, and it warms up.
    few = random_batch(lengths, rows[:3], np.array([0, 0, 1]), config)
    difference = largest_difference(few, ways)
    print(f"losses and gradient norms differ from the straightforward ones by at most {difference:.1e}", flush=True)
    if difference > SAME:
        raise SystemExit(f"the ways do not compute the same: {difference:.1e}")
    holds = compare("Real annotation", real, ways, arguments.rounds, LIMITS["real"])
    chosen = {name: ways[name] for name in ("straightforward", "ours", "without windows shared")}
    holds &= compare("Five isoforms on one start site", five, chosen, arguments.rounds, LIMITS["five"])
    raise SystemExit(0 if holds else "the claim does not hold")


if __name__ == "__main__":
    main()
