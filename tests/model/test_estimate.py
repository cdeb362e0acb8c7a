"""What the estimator says, against what torch counts while the network runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.batch import TranscriptInput, collate
from model.config import EnformerConfig, IsoFormerConfig
from model.estimate import Workload, batch_flops, forward_flops, window_flops
from model.isoformer import IsoFormer, TorchBatch
from model.presets import preset

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
