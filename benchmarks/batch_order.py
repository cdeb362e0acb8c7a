"""Claim: keeping the transcripts of a DNA window together in a batch costs no quality against plain shuffling; and what
clusters of start sites on one window (inexact) cost.

    python -m benchmarks.batch_order [--seeds 3] [--transcripts 1200] [--epochs 5] [--settings 4]

Trains the sanity network on SIMULATED data for each seed and each setting; validation R², evaluated on exact windows.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from components.params import Params, load_params
from components.raw_data import find_raw_data
from components.train_model.data import TranscriptData, read_dataset_facts
from components.train_model.loop import Trainer
from components.train_model.network import build_config
from model.isoformer import IsoFormer

SETTINGS = {
    "windows together": [],
    "plain shuffling": ["train.batch_order=transcripts"],
    "start sites within 32 bp": ["train.tss_cluster_bp=32"],
    "start sites within 256 bp": ["train.tss_cluster_bp=256"],
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


def train(params: Params, payload: Path, work: Path) -> tuple[float, float, float]:
    """Best validation R² on exact windows, windows encoded per transcript, seconds."""
    config = build_config(params, read_dataset_facts(payload))
    torch.manual_seed(params.train.seed)
    model = IsoFormer(config)
    data = TranscriptData(payload, config, "train", tss_cluster_bp=params.train.tss_cluster_bp)
    valid = TranscriptData(payload, config, "valid")
    started = time.monotonic()
    trainer = Trainer(model, data, valid, params.train, params.runtime, work, torch.device("cpu"), {}, {})
    trainer.run()
    shared = trainer.meter.total.windows / trainer.meter.total.transcripts
    return max(entry["valid_r2"] for entry in trainer.progress.history), shared, time.monotonic() - started


def main() -> None:
    """Train every setting with every seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--transcripts", type=int, default=1200)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--settings", type=int, default=len(SETTINGS), help="Only the first so many.")
    arguments = parser.parse_args()
    settings = dict(list(SETTINGS.items())[: arguments.settings])
    torch.set_num_threads(1)
    base = [f"fabricate.transcripts={arguments.transcripts}", f"train.max_epochs={arguments.epochs}"]
    base += ["train.max_steps=null", "train.batch_transcripts=32", "train.learning_rate=0.004"]
    base += ["extract.split.valid_share=0.2", "train.patience_epochs=50"]
    results: dict[str, list[float]] = {name: [] for name in settings}
    facts: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        payload = prepare(load_params(None, preset="sanity", overrides=base), folder)
        for seed in range(arguments.seeds):
            for setting, overrides in settings.items():
                params = load_params(None, preset="sanity", overrides=[*base, *overrides, f"train.seed={seed}"])
                r2, shared, seconds = train(params, payload, folder / f"{setting}-{seed}")
                results[setting].append(r2)
                facts[setting] = (shared, seconds)
                print(f"seed {seed}, {setting}: R² {r2:.3f}, {seconds:.0f} s", flush=True)
    reference = np.array(results["windows together"])
    print(
        "\n| order | R² by seed | mean | difference to windows together ± standard error | windows per transcript | s |"
    )
    print("|---|---|---|---|---|---|")
    for setting, values in results.items():
        difference = np.array(values) - reference
        error = difference.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
        shared, seconds = facts[setting]
        by_seed = ", ".join(f"{value:.3f}" for value in values)
        print(
            f"| {setting} | {by_seed} | {np.mean(values):.3f} | {difference.mean():+.3f} ± {error:.3f} | "
            f"{shared:.3f} | {seconds:.0f} |"
        )


if __name__ == "__main__":
    main()
