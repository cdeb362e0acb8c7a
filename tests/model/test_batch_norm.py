"""Batch statistics: frozen by choice, otherwise those of the whole batch on any number of ranks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch.nn.parallel import DistributedDataParallel

from model.batch import TranscriptInput, collate
from model.config import EnformerConfig, IsoFormerConfig
from model.encoders.batch_norm import WindowBatchNorm
from model.isoformer import IsoFormer, TorchBatch

if TYPE_CHECKING:
    from tests.model.conftest import MakeTranscripts

RANKS = 2


def test_frozen_statistics_ignore_the_batch() -> None:
    """Frozen: training mode computes with the running statistics and leaves them as they are."""
    norm = WindowBatchNorm(3, frozen=True).train()
    norm.running_mean.fill_(2.0)
    x = torch.randn(4, 5, 3)
    torch.testing.assert_close(norm(x, None), (x - 2) / (1 + 1e-5) ** 0.5)
    assert norm.running_mean.tolist() == [2.0] * 3


def test_global_statistics_are_the_batches_and_are_remembered() -> None:
    """Global: normalised by the batch in training, by the remembered statistics in evaluation."""
    norm = WindowBatchNorm(3, frozen=False).train()
    x = 3 + 2 * torch.randn(64, 50, 3)
    y = norm(x, None, 1.702)
    torch.testing.assert_close(y.mean(dim=(0, 1)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std(dim=(0, 1)), torch.full((3,), 1.702), atol=1e-3, rtol=0)
    torch.testing.assert_close(norm.running_mean, 0.1 * x.mean(dim=(0, 1)))
    norm.eval()
    assert norm(x, None).mean() > 1


def _build(config: IsoFormerConfig) -> IsoFormer:
    torch.manual_seed(0)
    return IsoFormer(config).train()


def _rank(rank: int, config: IsoFormerConfig, items: list[TranscriptInput], cut: int, folder: Path) -> None:
    """One process of two: half of the batch, the loss weighted as the training loop does."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    model = _build(config)
    network = DistributedDataParallel(model)
    own = items[:cut] if rank == 0 else items[cut:]
    predicted = network(TorchBatch.from_packed(collate(own, config)))
    (predicted.square().sum() * RANKS / len(items)).backward()
    if rank == 0:
        save_file(_facts(model), folder / "facts.safetensors")
    dist.destroy_process_group()


def _facts(model: IsoFormer) -> dict[str, torch.Tensor]:
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return gradients | {name: value for name, value in model.named_buffers() if "running" in name}


@pytest.mark.parametrize("case", ["shared_window", pytest.param("rank_without_dna", marks=pytest.mark.slow)])
def test_two_ranks_compute_the_gradient_of_one(
    small_config: IsoFormerConfig, make_transcripts: MakeTranscripts, tmp_path: Path, case: str
) -> None:
    """fp32: gradients and running statistics of two gloo ranks are those of one process.

    Also where a window lies on both ranks (it counts once), and where one rank has no window at all.
    """
    assert isinstance(small_config.dna, EnformerConfig)
    config = replace(small_config, dna=replace(small_config.dna, batch_norm="global"))
    items = make_transcripts(config, 8, complete=True)
    if case == "shared_window":
        items = [items[index] for index in (0, 4, 1, 5, 2, 6, 3, 7)]
    else:
        items = [replace(item, dna=None) if index >= 5 else item for index, item in enumerate(items)]
    model = _build(config)
    (model(TorchBatch.from_packed(collate(items, config))).square().sum() / len(items)).backward()
    torch.multiprocessing.start_processes(_rank, (config, items, 5, tmp_path), nprocs=RANKS, start_method="spawn")
    found = load_file(tmp_path / "facts.safetensors")
    for name, expected in _facts(model).items():
        scale = max(1.0, float(expected.abs().max()))
        np.testing.assert_allclose(found[name].numpy() / scale, expected.numpy() / scale, atol=1e-5, err_msg=name)
