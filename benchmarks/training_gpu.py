"""Claim: on one GPU a step of the full-size network (Enformer, NT-v2 250M, ESM-2 150M) in bf16 reaches 40 % of the
measured matrix peak.

    python -m benchmarks.training_gpu [--windows 2] [--rna-tokens 8192] [--protein-tokens 8192] [--dollars-per-hour 4]

Weights are random, lengths and start sites those of real annotation. Each row takes one optimisation back. Then passes
of 1, 2, 4 … DNA windows until memory ends, beside what `isoformer estimate` says of them. `--device cpu --preset
sanity` tries the benchmark itself where there is no GPU.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from benchmarks.real_lengths import Lengths, random_batch, read_lengths
from benchmarks.side_by_side import Place, add_device_option, set_up
from components.train_model.data import work_of
from components.train_model.meter import matrix_peak
from components.train_model.parallel import compile_blocks
from components.train_model.recompute import recompute_activations
from components.train_model.sampler import Sizes, epoch_batches, plan_step
from components.train_sections import BudgetParams
from model.batch import PackedBatch
from model.config import IsoFormerConfig
from model.estimate import TRAINING_FACTOR, batch_flops
from model.isoformer import IsoFormer, TorchBatch
from model.planning import state_bytes
from model.presets import preset
from model.step_trace import trace_step

STEP, EPOCH, STEPS = 64, 82_205, 3
MOST_WINDOWS = 64


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What is switched on."""

    bf16: bool = True
    share_windows: bool = True
    compiled: bool = True
    recompute: bool = False
    backward: bool = True


VARIANTS = {
    "all": Variant(),
    "forward alone": Variant(backward=False),
    "float32": Variant(bf16=False),
    "DNA for each transcript": Variant(share_windows=False),
    "not compiled": Variant(compiled=False),
    "DNA activations recomputed": Variant(recompute=True),
}


def micro_batches(config: IsoFormerConfig, lengths: Lengths, budget: BudgetParams, share: bool) -> list[PackedBatch]:
    """One optimizer step of real lengths, split by the budget."""
    assert config.rna is not None
    assert config.protein is not None
    rna = np.minimum(lengths.rna // 6 + 1, config.rna.max_tokens)
    protein = np.minimum(lengths.protein + 2, config.protein.max_tokens)
    window_cost, row_cost = work_of(config, rna, protein)
    sites = lengths.start_site if share else np.arange(len(rna))
    sizes = Sizes(window_key=sites, rna=rna, protein=protein, window_cost=window_cost, row_cost=row_cost)
    rows = epoch_batches(lengths.start_site, STEP, seed=0, epoch=0)[0]
    return [random_batch(lengths, part, sites[part], config) for part in plan_step(rows, sizes, budget)[0]]


class Step:
    """An optimizer step of a network with random weights, as the training loop takes it."""

    def __init__(self, config: IsoFormerConfig, variant: Variant, place: Place) -> None:
        torch.manual_seed(0)
        self.variant, self.place = variant, place
        self.model = IsoFormer(config).to(place.device).train()
        if variant.recompute:
            recompute_activations(self.model, ["dna"])
        if variant.compiled:
            compile_blocks(self.model)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=3e-5)

    def take(self, batches: Iterable[TorchBatch]) -> None:
        """Over micro-batches of 64 transcripts in all; a forward pass alone keeps nothing for a backward one."""
        if not self.variant.backward:
            with torch.no_grad():
                for batch in batches:
                    self._loss(batch)
            return
        for batch in batches:
            self._loss(batch).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _loss(self, batch: TorchBatch) -> Tensor:
        with torch.autocast(self.place.device.type, torch.bfloat16, enabled=self.variant.bf16):
            return self.model(batch).float().square().mean(dim=1).sum() / STEP  # type: ignore[no-any-return]


def measure(
    config: IsoFormerConfig, variant: Variant, packed: list[PackedBatch], place: Place, steps: int = STEPS
) -> tuple[float, float]:
    """Seconds of the quickest step, peak bytes on the device."""
    step = Step(config, variant, place)
    batches = [TorchBatch.from_packed(item, place.device) for item in packed]
    if place.on_gpu:
        torch.cuda.reset_peak_memory_stats(place.device)
    best = float("inf")
    for _ in range(steps):
        place.wait()
        started = time.perf_counter()
        step.take(batches)
        place.wait()
        best = min(best, time.perf_counter() - started)
    return best, float(torch.cuda.max_memory_allocated(place.device)) if place.on_gpu else float("nan")


def give_memory_back(place: Place) -> None:
    """What a step that failed still holds."""
    gc.collect()
    if place.on_gpu:
        torch.cuda.empty_cache()


def time_variants(config: IsoFormerConfig, lengths: Lengths, budget: BudgetParams, place: Place, usd: float) -> float:
    """Print a row per variant; the share of the matrix peak that a step with everything reaches."""
    peak = matrix_peak(place.device, torch.bfloat16)
    print(f"bf16 matrix peak measured {peak / 1e12:.4g} TFLOP/s; {lengths.source}; {budget}")
    print("| step of 64 transcripts | s | transcripts/s | TFLOP/s | of peak | GB | h per epoch | $ per epoch |")
    print("|---|---|---|---|---|---|---|---|")
    shares = {}
    # The work of real tokens and distinct windows: what a variant does beside that does not count for it.
    useful = sum(batch_flops(config, item) for item in micro_batches(config, lengths, budget, share=True))
    for title, variant in VARIANTS.items():
        packed = micro_batches(config, lengths, budget, variant.share_windows)
        try:
            seconds, held = measure(config, variant, packed, place)
        except torch.OutOfMemoryError:
            print(f"| {title} | out of memory | | | | | | |", flush=True)
            continue
        finally:
            give_memory_back(place)
        speed = useful * (TRAINING_FACTOR if variant.backward else 1) / seconds
        shares[title] = speed / peak
        hours = EPOCH / STEP * seconds / 3600
        print(
            f"| {title} | {seconds:.3g} | {STEP / seconds:.1f} | {speed / 1e12:.4g} | {speed / peak:.0%} | "
            f"{held / 1e9:.1f} | {hours:.2f} | {hours * usd:.2f} |",
            flush=True,
        )
    return shares.get("all", 0.0)


def fill_memory(config: IsoFormerConfig, lengths: Lengths, place: Place) -> None:
    """Print passes of more and more windows until memory ends, beside what is estimated of them."""
    print("\n| DNA windows in a pass | transcripts | GB measured | GB estimated | estimated / measured |")
    print("|---|---|---|---|---|")
    windows = 1
    while windows <= min(MOST_WINDOWS, len(lengths.rna)):
        rows = np.unique(lengths.start_site, return_index=True)[1][:windows]
        packed = random_batch(lengths, rows, lengths.start_site[rows], config)
        trace = trace_step(config, packed, dtype=torch.bfloat16)
        estimated = sum(state_bytes(trace, "bf16").values()) + trace.activation_bytes + trace.workspace_bytes
        try:
            _, held = measure(config, Variant(compiled=False), [packed], place, steps=2)
        except torch.OutOfMemoryError:
            print(f"| {windows} | {packed.size} | out of memory | {estimated / 1e9:.1f} | |", flush=True)
            return
        finally:
            give_memory_back(place)
        print(
            f"| {windows} | {packed.size} | {held / 1e9:.1f} | {estimated / 1e9:.1f} | {estimated / held:.2f} |",
            flush=True,
        )
        windows *= 2


def main() -> None:
    """Measure every variant, then memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_device_option(parser)
    parser.set_defaults(device="cuda")
    parser.add_argument("--preset", default="isoformer")
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--rna-tokens", type=int, default=8192)
    parser.add_argument("--protein-tokens", type=int, default=8192)
    parser.add_argument("--dollars-per-hour", type=float, default=4.0)
    arguments = parser.parse_args()
    place = set_up(arguments.device)
    budget = BudgetParams(
        dna_windows=arguments.windows, rna_tokens=arguments.rna_tokens, protein_tokens=arguments.protein_tokens
    )
    config = preset(arguments.preset)
    config = replace(config, output_mean=(0.0,) * len(config.tissues), output_std=(1.0,) * len(config.tissues))
    lengths = read_lengths()
    share = time_variants(config, lengths, budget, place, arguments.dollars_per_hour)
    fill_memory(config, lengths, place)
    raise SystemExit(0 if share >= 0.4 else f"the claim does not hold: {share:.0%} of peak")


if __name__ == "__main__":
    main()
