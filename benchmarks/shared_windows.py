"""Claim: five isoforms that share one TSS take at most a third of the time of five forward passes, with equal answers.

    python -m benchmarks.shared_windows [--isoforms 5] [--window-bp 24576] [--annotation GTF]
    python -m benchmarks.shared_windows --device cuda --window-bp 196608

The published Enformer on a shorter window, with token encoders in the published proportion to it. What a batch of real
transcripts gains, whose TSSs are shared less often, is counted from the annotation.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from benchmarks import annotated_lengths
from benchmarks.side_by_side import add_device_option, best_seconds, print_ratio, set_up
from model.batch import TranscriptInput, collate
from model.config import EnformerConfig
from model.estimate import batch_flops
from model.isoformer import IsoFormer, TorchBatch
from model.presets import esm2, nucleotide_transformer, preset

PUBLISHED_BP, PUBLISHED_CROP = 196_608, 320


def main() -> None:
    """Print one forward pass over all isoforms beside one forward pass for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    annotated_lengths.add_option(parser)
    add_device_option(parser)
    parser.add_argument("--isoforms", type=int, default=5)
    parser.add_argument("--window-bp", type=int, default=24_576)
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    place = set_up(arguments.device)
    crop = PUBLISHED_CROP * arguments.window_bp // PUBLISHED_BP
    config = replace(
        preset("isoformer"),
        window_bp=arguments.window_bp,
        dna=EnformerConfig(crop_positions=crop),
        rna=nucleotide_transformer("50m"),
        protein=esm2("8m"),
    )
    model = IsoFormer(config).to(place.device, place.dtype).eval()
    lengths = annotated_lengths.read_lengths(arguments.annotation)
    ratio = len(lengths.tss) / len(np.unique(lengths.tss))
    drawn = lengths.draw(arguments.isoforms)
    items = replace(drawn, tss=np.zeros(arguments.isoforms, dtype=np.int64)).transcripts(config.window_bp)

    def run(parts: Sequence[Sequence[TranscriptInput]]) -> Tensor:
        with torch.inference_mode():
            batches = [TorchBatch.from_packed(collate(part, config), place.device) for part in parts]
            return torch.cat([model(batch) for batch in batches])

    difference = (run([items]) - run([[item] for item in items])).abs().max().item()
    ways = {"together": lambda: run([items]), "one by one": lambda: run([[item] for item in items])}
    seconds = best_seconds(ways, arguments.repeats, place.wait)
    flops = batch_flops(config, collate(items, config))
    print(
        f"{arguments.isoforms} isoforms of one TSS, window {config.window_bp:,} bp, {flops / 1e12:.2f} TFLOP together"
    )
    for name, value in seconds.items():
        print(f"{name:12} {value:7.3f} s")
    print(f"largest difference of answers: {difference:.1e}")
    print_ratio("together against one by one", seconds["one by one"] / seconds["together"], 3.0)
    print(
        f"{lengths.source}: {ratio:.2f} transcripts per window, so {1 - 1 / ratio:.0%} of the DNA tower's work is saved"
    )


if __name__ == "__main__":
    main()
