"""Claim: keeping the transcripts of a DNA window together in a batch costs no quality against plain shuffling; and what
clusters of start sites on one window (inexact) cost.

    python -m benchmarks.batch_order [--seeds 20] [--transcripts 8000] [--epochs 6] [--learning-rate 0.002]

Trains the sanity network on SIMULATED data for each seed and each setting; validation R², evaluated on exact windows.
Start sites that are to be clustered lie up to 40 bp apart at one promoter. One training per core at a time, one thread
each.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import os
import tempfile
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

from components.params import Params, load_params
from components.raw_data import find_raw_data
from components.train_model.data import TranscriptData, read_dataset_facts
from components.train_model.loop import Trainer
from components.train_model.network import build_config
from model.isoformer import IsoFormer

# What is compared, and how far apart start sites of one promoter lie for it (promoters themselves: more than a window).
QUESTIONS: dict[str, tuple[int, dict[str, list[str]]]] = {
    "order": (0, {"windows together": [], "plain shuffling": ["train.batch_order=transcripts"]}),
    "clusters": (
        40,
        {
            "exact start sites": [],
            "start sites within 10 bp": ["train.tss_cluster_bp=10"],
            "start sites within 40 bp": ["train.tss_cluster_bp=40"],
        },
    ),
}


def prepare(params: Params, folder: Path) -> Path:
    """Fabricated transcripts."""
    from components.extract_sequences.step import run as extract_sequences
    from components.fabricate.step import run as fabricate
    from components.validate_data.step import run as validate_data

    fabricate({}, params, folder / "raw", folder / "work")
    raw = find_raw_data(folder / "raw", params.data)
    validate_data(raw, params, folder / "validation", folder / "work")
    inputs = {**raw, "validation": folder / "validation"}
    extract_sequences(inputs, params, folder / "transcripts", folder / "work")
    return folder / "transcripts" / "payload"


def train(params: Params, payload: Path, work: Path) -> tuple[float, float]:
    """Best validation R² on exact windows, windows encoded per transcript."""
    os.environ["GOMP_SPINCOUNT"] = "0"
    torch.set_num_threads(1)
    config = build_config(params, read_dataset_facts(payload))
    torch.manual_seed(params.train.seed)
    model = IsoFormer(config)
    data = TranscriptData(payload, config, "train", tss_cluster_bp=params.train.tss_cluster_bp)
    valid = TranscriptData(payload, config, "valid")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer = Trainer(model, data, valid, params.train, params.runtime, work, torch.device("cpu"), {}, {})
        trainer.run()
    shared = trainer.meter.total.windows / trainer.meter.total.transcripts
    return max(entry["valid_r2"] for entry in trainer.progress.history), shared


def main() -> None:
    """Train every setting with every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--questions", nargs="+", choices=list(QUESTIONS), default=list(QUESTIONS))
    parser.add_argument("--transcripts", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--learning-rate", type=float, default=0.002)
    arguments = parser.parse_args()
    base = [f"fabricate.transcripts={arguments.transcripts}", f"train.max_epochs={arguments.epochs}"]
    base += [f"train.learning_rate={arguments.learning_rate}", "train.max_steps=null", "train.batch_transcripts=32"]
    base += ["extract.split.valid_share=0.2", "train.patience_epochs=50"]
    cores = len(os.sched_getaffinity(0))
    with (
        tempfile.TemporaryDirectory() as name,
        ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        for question in arguments.questions:
            spread_bp, settings = QUESTIONS[question]
            folder = Path(name) / question
            data = [*base, f"fabricate.tss_spread_bp={spread_bp}"]
            payload = prepare(load_params(None, preset="sanity", overrides=data), folder)
            runs: dict[str, list[Future[tuple[float, float]]]] = {setting: [] for setting in settings}
            for seed in range(arguments.seeds):
                for setting, overrides in settings.items():
                    params = load_params(None, preset="sanity", overrides=[*data, *overrides, f"train.seed={seed}"])
                    runs[setting].append(pool.submit(train, params, payload, folder / f"{setting}-{seed}"))
            print_table({setting: [run.result() for run in futures] for setting, futures in runs.items()})


def print_table(found: dict[str, list[tuple[float, float]]]) -> None:
    """R² of each setting beside the first one's, paired by seed."""
    reference = np.array([r2 for r2, _ in next(iter(found.values()))])
    print("\n| setting | R² by seed | mean | difference to the first ± standard error | windows per transcript |")
    print("|---|---|---|---|---|")
    for setting, values in found.items():
        scores = np.array([r2 for r2, _ in values])
        difference = scores - reference
        error = difference.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
        by_seed = ", ".join(f"{value:.3f}" for value in scores)
        shared = np.mean([windows for _, windows in values])
        print(
            f"| {setting} | {by_seed} | {scores.mean():.3f} | {difference.mean():+.3f} ± {error:.3f} | {shared:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
