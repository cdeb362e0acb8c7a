"""Parameter counts of the published networks, without allocating them."""

from __future__ import annotations

import torch
from torch import nn

from model.isoformer import IsoFormer
from model.presets import preset

# Vocabulary and contact heads that the published files hold and the encoders do not.
NT_250M_WHOLE, ESM2_150M_WHOLE = 233_546_380, 148_140_154


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


def _masked_language_head(width: int, vocabulary: int) -> int:
    """Dense, LayerNorm, and a bias per word; the words' weights are the embedding's."""
    return width * width + width + 2 * width + vocabulary
