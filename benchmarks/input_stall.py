"""Claim: at most 2 % of a training step is spent waiting for input.

    python -m benchmarks.input_stall [--transcripts 600] [--tflops 300]

Windows of the published 196,608 bp from a SIMULATED genome: seconds to make a step's input on one core, set against the
seconds that a step of the full-size network takes at an assumed speed; then the wait that is measured where the loader
works beside a device that is busy for so long (here one that sleeps: no GPU is needed). The first step is left out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.batch_order import prepare
from benchmarks.recipe_cost import step_flops
from components.params import load_params
from components.train_model.data import TranscriptData, read_dataset_facts
from components.train_model.loader import Loader
from components.train_model.network import build_config
from components.train_model.sampler import epoch_batches, plan_step
from components.train_model.validation import standardised

LIMIT = 0.02


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transcripts", type=int, default=600)
    parser.add_argument("--tflops", type=float, default=300.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    overrides = [f"fabricate.transcripts={arguments.transcripts}", "extract.window_bp=196608"]
    params = load_params(None, preset="sanity", overrides=overrides)
    recipe = load_params(None, preset="paper")
    with tempfile.TemporaryDirectory() as name:
        payload = prepare(params, Path(name))
        config = build_config(recipe, read_dataset_facts(payload))
        data = TranscriptData(payload, config, "train")
        loader = Loader(data=data, labels=standardised(data), device=torch.device("cpu"), dtype=torch.float32)
        steps = epoch_batches(data.window_key, recipe.train.batch_transcripts, seed=0, epoch=0)
        plans = [plan_step(rows, data.sizes, recipe.train.budget)[0] for rows in steps]
        started = time.process_time()
        for plan in plans:
            for rows in plan:
                loader.make(rows)
        making = (time.process_time() - started) / len(plans)
        computing = step_flops(config, recipe.train) * recipe.train.batch_transcripts / arguments.tflops / 1e12
        for index, _ in enumerate(loader.steps(plans)):
            if not index:  # nothing to hide its making behind
                loader.stalled_s, begun = 0.0, time.monotonic()
            time.sleep(computing)  # a GPU that computes leaves the processor to the loader
        share = loader.stalled_s / (time.monotonic() - begun)
    windows = np.mean([len(np.unique(data.window_key[rows])) for rows in steps])
    print(f"a step's input ({recipe.train.batch_transcripts} transcripts, {windows:.0f} windows of 196,608 bp):")
    print(
        f"made in {making * 1e3:.0f} ms of one core; a step at {arguments.tflops:.0f} TFLOP/s takes {computing:.2f} s"
    )
    print(
        f"beside a device busy for so long: waiting {share:.1%} of the time, limit {LIMIT:.0%} "
        f"({len(plans)} steps, the first left out)"
    )
    holds = making < computing and share <= LIMIT
    raise SystemExit(0 if holds else "the claim does not hold")


if __name__ == "__main__":
    main()
