"""A trainer in the test's own process."""

from __future__ import annotations

from pathlib import Path

import torch

from components.params import Params
from components.train_model.data import TranscriptData, read_dataset_facts
from components.train_model.loop import Trainer
from components.train_model.network import build_config
from components.train_model.tower_cache import fill_caches
from components.train_model.towers import add_adapters, load_initial_weights
from model.isoformer import IsoFormer

CPU = torch.device("cpu")


def make_trainer(params: Params, transcripts: Path, work: Path) -> Trainer:
    """What a worker makes of its specification."""
    payload = transcripts / "payload"
    config = build_config(params, read_dataset_facts(payload))
    torch.manual_seed(params.train.seed)
    model = IsoFormer(config)
    load_initial_weights(model, params.data.weights)
    add_adapters(model, params.train)
    data = [TranscriptData(payload, config, split) for split in ("train", "valid")]
    caches = fill_caches(model, params.train, params.runtime, work, data, 0, 1, CPU)
    return Trainer(model, data[0], data[1], params.train, params.runtime, work, CPU, {}, caches)


def train_steps(trainer: Trainer, steps: int) -> list[float]:
    """The losses of the first steps."""
    trainer.total_steps = steps
    losses = []
    for _ in range(steps):
        before = trainer.progress.epoch_loss_sum
        trainer.total_steps = trainer.progress.step + 1
        trainer._train_epoch(lambda *_: None)
        losses.append(trainer.progress.epoch_loss_sum - before)
    return losses
