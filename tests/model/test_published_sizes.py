"""Parameter counts of the published networks, without allocating them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model.encoders.rotary_encoder import RotaryEncoder
from model.isoformer import IsoFormer
from model.presets import esm2, preset

# Vocabulary and contact heads that the published files hold and the encoders do not.
NT_250M_WHOLE, ESM2_150M_WHOLE = 233_546_380, 148_140_154
# The Enformer's heads: human and mouse tracks.
ENFORMER_WHOLE, ENFORMER_TRACKS = 251_221_292, (5_313, 1_643)
# Learned positions that both token encoders hold and rotary positions leave unused: 2,050 and 1,026 rows.
NT_POSITIONS, ESM2_POSITIONS = 1_574_400, 656_640
ISOFORMER_WHOLE = 700_627_792


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_parameter_counts() -> None:
    """Enformer trunk, encoders, cross-attention and head of the released IsoFormer, part by part."""
    with torch.device("meta"):
        model = IsoFormer(preset("isoformer"))
    trunk, rna, protein = (model.encoders[name] for name in ("dna", "rna", "protein"))
    assert count(trunk) == 229_845_504
    # The file of the Nucleotide Transformer holds the words of its language head apart from the embedding.
    assert count(rna) + _masked_language_head(768, 4107) + 4107 * 768 + 24 * 16 + 1 == NT_250M_WHOLE
    assert count(protein) + _masked_language_head(640, 33) + 30 * 20 + 1 == ESM2_150M_WHOLE
    layers = model.fusion.targets["dna"].layers
    assert count(layers["rna"]) == 23_605_248
    assert count(layers["protein"]) == 22_818_816
    assert count(model.head) == 19_064_862
    heads = sum((3072 + 1) * tracks for tracks in ENFORMER_TRACKS)
    assert count(trunk) + heads == ENFORMER_WHOLE
    assert (NT_POSITIONS, ESM2_POSITIONS) == (2050 * 768, 1026 * 640)
    towers = ENFORMER_WHOLE + NT_250M_WHOLE + NT_POSITIONS + ESM2_150M_WHOLE + ESM2_POSITIONS
    fusion_and_head = count(model.fusion) + count(model.head)
    assert towers + fusion_and_head == ISOFORMER_WHOLE
    # What serves inference.
    assert count(model) == pytest.approx(672.9e6, abs=0.1e6)


@pytest.mark.parametrize(("size", "parameters"), [("8m", 7.5e6), ("35m", 33.5e6), ("150m", 148.1e6), ("650m", 651.0e6)])
def test_sizes_of_esm2(size: str, parameters: float) -> None:
    """Every size has the parameters that its published name says, language head and contact head included."""
    config = esm2(size)  # type: ignore[arg-type]
    with torch.device("meta"):
        encoder = RotaryEncoder(config)
    whole = count(encoder) + _masked_language_head(config.width, 33) + config.layers * config.heads + 1
    assert whole == pytest.approx(parameters, rel=0.005)


def _masked_language_head(width: int, vocabulary: int) -> int:
    """Dense, LayerNorm, and a bias per word; the words' weights are the embedding's."""
    return width * width + width + 2 * width + vocabulary
