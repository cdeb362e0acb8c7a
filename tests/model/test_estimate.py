"""What the estimator says, against what torch counts while the network runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.batch import TranscriptInput, collate
from model.config import EnformerConfig, IsoFormerConfig
from model.errors import InputError
from model.estimate import Workload, batch_flops, forward_flops, window_flops
from model.hardware import GPUS, machine
from model.isoformer import IsoFormer, TorchBatch
from model.planning import SequenceLengths, largest_micro_batch, plan_training, sample_batch
from model.presets import preset
from model.step_trace import SavedBytes, trace_step

if TYPE_CHECKING:
    from tests.model.conftest import MakeTranscripts

FUSIONS = ("cross_attention", "perceiver_resampler", "resampler_linear", "c_abstractor", "concatenation")


def counted(model: IsoFormer, items: list[TranscriptInput]) -> int:
    """What torch's own counter sees in a forward pass; attention as matrix products, which it knows everywhere."""
    counter = FlopCounterMode(display=False)
    # Under no_grad the counter trips over views of parameters.
    model.requires_grad_(False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        model(TorchBatch.from_packed(collate(items, model.config)))
    return counter.get_total_flops()


def equal_lengths(config: IsoFormerConfig, count: int) -> list[TranscriptInput]:
    """Transcripts that need no padding anywhere, two to a window."""
    rng = np.random.default_rng(0)
    windows = rng.integers(0, 4, (count // 2, config.window_bp)).astype(np.uint8)
    return [TranscriptInput(dna=windows[i // 2], rna="ACGTAC" * 40, protein="MKV" * 15) for i in range(count)]


@pytest.mark.parametrize("name", ["sanity", "tiny"])
@pytest.mark.parametrize("kind", FUSIONS)
def test_flops_are_those_that_torch_counts(name: str, kind: str) -> None:
    """To 0.5 %, where no sequence is padded: means over positions, which run as products, are left out."""
    config = preset(name)
    config = replace(config, fusion=replace(config.fusion, kind=kind))  # type: ignore[arg-type]
    items = equal_lengths(config, 6)
    expected = counted(IsoFormer(config).eval(), items)
    assert batch_flops(config, collate(items, config)) == pytest.approx(expected, rel=5e-3)


def test_flops_of_unequal_lengths_are_a_lower_bound(
    small_config: IsoFormerConfig, make_transcripts: MakeTranscripts
) -> None:
    """Attention within blocks of like length does a little more than real tokens need, never less."""
    items = make_transcripts(small_config, 24)
    expected = counted(IsoFormer(small_config).eval(), items)
    found = batch_flops(small_config, collate(items, small_config))
    assert found <= expected <= 1.6 * found


def test_flops_of_the_published_network_per_part() -> None:
    """TFLOP of one example at 2,048 RNA and protein tokens; the saved pooling and last layer are the difference."""
    config = preset("isoformer")
    assert isinstance(config.dna, EnformerConfig)
    # Logits of pairs instead of positions, 896 of 1,536 rows of the last layer: 3.255 TFLOP as published.
    assert window_flops(config.dna, config.window_bp) == pytest.approx(2.953e12, rel=1e-3)
    one = np.ones(1)
    work = Workload(
        dna_lengths=896 * one,
        window_of_transcript=np.zeros(1, dtype=np.int64),
        rna_lengths=2048 * one,
        protein_lengths=2048 * one,
    )
    flops = forward_flops(config, work)
    assert flops.rna == pytest.approx(1.237e12, rel=0.01)
    assert flops.protein == pytest.approx(0.926e12, rel=0.01)
    assert flops.fusion < 0.148e12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["sanity", "tiny"])
def test_activation_memory_is_what_autograd_keeps(name: str, dtype: torch.dtype) -> None:
    """Traced without storage, against the storages that a real forward pass on this CPU keeps: within 1 %."""
    config = preset(name)
    batch = sample_batch(config, SequenceLengths.typical(), 16, seed=0)
    model = IsoFormer(config).to(dtype).train()
    saved = SavedBytes(model)
    with saved.hooks():
        model(TorchBatch.from_packed(batch))
    assert saved.total > 1e6
    assert trace_step(config, batch, dtype=dtype).activation_bytes == pytest.approx(saved.total, rel=0.01)


def test_a_step_is_three_forward_passes() -> None:
    """Traced operations of forward and backward, against the count from lengths."""
    config = preset("tiny")
    batch = sample_batch(config, SequenceLengths.typical(), 32, seed=0)
    traced = trace_step(config, batch)
    assert sum(item.flops for item in traced.forward) == pytest.approx(batch_flops(config, batch), rel=0.15)
    # Fused attention computes its products again on the way back, and the first layers need no gradient of inputs.
    assert traced.flops == pytest.approx(3 * batch_flops(config, batch), rel=0.25)


@pytest.mark.slow
def test_the_published_network_is_planned_without_being_made() -> None:
    """Parameters, state and the effect of the micro-batch on one H200; twice the transcripts, twice the activations."""
    config, lengths = preset("isoformer"), SequenceLengths.typical()
    small, large = (
        plan_training(config, GPUS["h200"], lengths, micro_batch=size, transcripts=82_205, samples=3) for size in (2, 8)
    )
    assert small.parameters == 672_858_014
    assert small.state_bytes == {
        "weights": 4 * small.parameters,
        "gradients": 4 * small.parameters,
        "optimizer": 8 * small.parameters,
        "bf16 copy of weights": 2 * small.parameters,
    }
    assert large.activation_bytes == pytest.approx(4 * small.activation_bytes, rel=0.25)
    assert large.fits
    assert large.epoch_hours < small.epoch_hours
    assert large.epoch_usd == pytest.approx(large.epoch_hours * GPUS["h200"].usd_per_hour)
    tight = replace(large, machine=replace(large.machine, memory_bytes=large.peak_bytes * 0.6))
    assert not tight.fits
    assert 1 <= largest_micro_batch(tight, config, lengths, limit=8) < 8


def test_an_unknown_device_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="h200, h100, a100, l40s, l4, cpu"):
        machine("tpu")
