"""What the named recipes cost: operations per transcript from the estimator, on the lengths of real annotation, and
hours and gigabytes that follow from stated speeds; what DDP and FSDP2 send per step, counted from parameters.

    python -m benchmarks.recipe_cost [--tflops 300] [--gbytes 200]

Nothing is measured here but lengths: `--tflops` is the speed that a device is taken to reach (measure it with
benchmarks.training_gpu), `--gbytes` per second what each device sends while it receives as much.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from benchmarks.real_lengths import read_lengths
from components.params import load_params
from components.train_model.towers import add_adapters, forward_passes, set_trainable
from components.train_sections import TrainParams
from model.config import IsoFormerConfig
from model.estimate import TRAINING_FACTOR, Workload, forward_flops, output_positions
from model.isoformer import IsoFormer
from model.presets import preset

TRANSCRIPTS = 82_205
RECIPES = ("paper", "single-gpu-day")
DEVICES = 8


def step_flops(config: IsoFormerConfig, recipe: TrainParams) -> float:
    """Operations of a training step per transcript."""
    lengths = read_lengths()
    sites, index = np.unique(lengths.start_site, return_inverse=True)
    assert config.dna is not None
    work = Workload(
        dna_lengths=np.full(len(sites), float(output_positions(config.dna, config.window_bp))),  # type: ignore[arg-type]
        window_of_transcript=index,
        rna_lengths=np.minimum(lengths.rna // 6 + 1, 2048).astype(float),
        protein_lengths=np.minimum(lengths.protein + 2, 2048).astype(float),
    )
    passes = forward_passes(recipe, ())
    parts = vars(forward_flops(config, work))
    return sum(value * passes.get(name, TRAINING_FACTOR) for name, value in parts.items()) / len(lengths.rna)


def trained_parameters(config: IsoFormerConfig, recipe: TrainParams) -> tuple[int, int]:
    """Parameters in all, and those that are trained (LoRA: its low-rank terms)."""
    with torch.device("meta"):
        model = IsoFormer(config)
        everything = sum(parameter.numel() for parameter in model.parameters())
        add_adapters(model, recipe)
        set_trainable(model, recipe, epoch=0)
    return everything, sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tflops", type=float, default=300.0)
    parser.add_argument("--gbytes", type=float, default=200.0)
    arguments = parser.parse_args()
    config = preset("isoformer")
    print(f"lengths: {read_lengths().source}; {arguments.tflops:.0f} TFLOP/s and {arguments.gbytes:.0f} GB/s assumed")
    print("| recipe | TFLOP per transcript | trained parameters | h per epoch, 1 GPU | epochs | h, 1 GPU |")
    print("|---|---|---|---|---|---|")
    counted = {}
    for name in RECIPES:
        recipe = load_params(None, preset=name).train
        flops = step_flops(config, recipe)
        everything, trained = trained_parameters(config, recipe)
        counted[name] = (flops, everything, trained, recipe.batch_transcripts)
        hours = flops * TRANSCRIPTS / arguments.tflops / 1e12 / 3600
        print(
            f"| {name} | {flops / 1e12:.2f} | {trained / 1e6:.1f} M of {everything / 1e6:.1f} M | {hours:.2f} | "
            f"{recipe.max_epochs} | {hours * recipe.max_epochs:.1f} |"
        )
    print(
        f"\n| recipe | sharding | GB sent per device and step, {DEVICES} devices | s sending | s computing "
        "| least efficiency |"
    )
    print("|---|---|---|---|---|---|")
    for name, (flops, everything, trained, batch) in counted.items():
        ring = (DEVICES - 1) / DEVICES
        # DDP: all-reduce of float32 gradients, each byte sent twice round the ring. FSDP2: gradients reduce-scattered
        # once, weights gathered for the forward and the backward pass of each micro-batch (here one).
        volume = {"ddp": 2 * ring * 4 * trained, "fsdp": ring * 4 * (trained + 2 * everything)}
        computing = flops * batch / DEVICES / arguments.tflops / 1e12
        for sharding, sent in volume.items():
            sending = sent / arguments.gbytes / 1e9
            efficiency = computing / (computing + sending)
            print(f"| {name} | {sharding} | {sent / 1e9:.2f} | {sending:.4f} | {computing:.3f} | {efficiency:.1%} |")
    print("Least efficiency: nothing sent while computing. DDP and FSDP2 overlap most of it with the backward pass.")


if __name__ == "__main__":
    main()
