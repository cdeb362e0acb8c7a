"""Claim: at most 5 % of the operations of a step are for padding, and each distinct DNA window is encoded once.

    python -m benchmarks.padding

Counts one epoch over the lengths and start sites of real annotation, for the full-size network: nothing is timed.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.real_lengths import Lengths, read_lengths
from components.train_model.data import work_of
from components.train_model.sampler import Sizes, epoch_batches, plan_step
from components.train_sections import BudgetParams
from model.config import IsoFormerConfig
from model.encoders.layout import packed_layout
from model.estimate import rotary_flops
from model.presets import preset

BUDGETS = {
    "whole step at once": BudgetParams(),
    "16 windows, 16,384 tokens": BudgetParams(dna_windows=16, rna_tokens=16_384, protein_tokens=16_384),
    "2 windows, 8,192 tokens (paper preset)": BudgetParams(dna_windows=2, rna_tokens=8192, protein_tokens=8192),
}


def count(lengths: Lengths, budget: BudgetParams, config: IsoFormerConfig) -> tuple[int, int, int, float, float, float]:
    """Passes, windows encoded, distinct windows; padding of operations, of attention places, of padded batches."""
    assert config.rna is not None
    assert config.protein is not None
    rna, protein = np.minimum(lengths.rna // 6 + 1, 2048), np.minimum(lengths.protein + 2, 2048)
    window_cost, row_cost = work_of(config, rna, protein)
    sites = lengths.start_site
    sizes = Sizes(window_key=sites, rna=rna, protein=protein, window_cost=window_cost, row_cost=row_cost)
    micro = encoded = distinct = tokens = places = rectangle = 0
    needed = wasted = 0.0
    for rows in epoch_batches(sites, 64, seed=0, epoch=0):
        distinct += len(np.unique(sites[rows]))
        for part in plan_step(rows, sizes, budget)[0]:
            micro += 1
            encoded += len(np.unique(sites[part]))
            needed += len(np.unique(sites[part])) * window_cost
            for counts, tower in ((rna[part], config.rna), (protein[part], config.protein)):
                blocks = packed_layout(counts, torch.device("cpu"))[0].blocks
                tokens += int(counts.sum())
                places += sum(block.sequences * block.length for block in blocks)
                rectangle += len(part) * int(counts.max())
                squares = sum(block.sequences * block.length**2 for block in blocks) - float((counts**2).sum())
                needed += rotary_flops(tower, counts.astype(float))
                wasted += 4.0 * tower.width * tower.layers * squares
    return micro, encoded, distinct, wasted / (needed + wasted), 1 - tokens / places, 1 - tokens / rectangle


def main() -> None:
    """Print one row per budget."""
    lengths, config = read_lengths(), preset("isoformer")
    print(f"{lengths.source}; steps of 64 transcripts")
    print(
        "| budget | passes | windows encoded / distinct | padding, of operations | of attention "
        "| if batches were padded |"
    )
    print("|---|---|---|---|---|---|")
    worst = 0.0
    for name, budget in BUDGETS.items():
        micro, encoded, distinct, operations, attention, padded = count(lengths, budget, config)
        worst = max(worst, operations)
        print(f"| {name} | {micro} | {encoded} / {distinct} | {operations:.2%} | {attention:.1%} | {padded:.0%} |")
    raise SystemExit(0 if worst <= 0.05 else "the claim does not hold")


if __name__ == "__main__":
    main()
