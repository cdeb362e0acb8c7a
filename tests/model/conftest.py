"""Random transcripts, and a network small enough for every test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from model.batch import TranscriptInput
from model.config import EnformerConfig, FusionConfig, HeadConfig, IsoFormerConfig, RotaryConfig

MakeTranscripts = Callable[..., list[TranscriptInput]]
RESIDUES = list("ACDEFGHIKLMNPQRSTVWY")


@pytest.fixture
def small_config() -> IsoFormerConfig:
    """Every part of the network, no dropout, frozen batch statistics; written out so that presets may change."""
    rna = RotaryConfig(
        alphabet="sixmer",
        layers=2,
        width=16,
        heads=2,
        feed_forward_width=24,
        feed_forward="gated_silu",
        max_tokens=64,
    )
    protein = replace(rna, alphabet="esm", width=24, feed_forward="gelu", token_dropout=True)
    dna = EnformerConfig(
        stem_channels=8,
        tower_channels=(12, 16),
        layers=2,
        heads=2,
        key_size=8,
        value_size=12,
        position_features=12,
        crop_positions=3,
        output_channels=32,
        dropout=0.0,
        attention_dropout=0.0,
        position_dropout=0.0,
        output_dropout=0.0,
    )
    return IsoFormerConfig(
        name="small",
        window_bp=128,
        dna=dna,
        rna=rna,
        protein=protein,
        fusion=FusionConfig(targets=("dna", "rna", "protein"), heads=4),
        head=HeadConfig(expansion=1.0),
        tissues=("Brain", "Liver", "Testis"),
        output_mean=(1.0, 2.0, 3.0),
        output_std=(0.5, 1.0, 2.0),
    )


@pytest.fixture
def make_transcripts() -> MakeTranscripts:
    """`count` transcripts over fewer windows; some lack DNA, RNA or protein unless `complete`."""

    def make(config: IsoFormerConfig, count: int = 8, seed: int = 0, complete: bool = False) -> list[TranscriptInput]:
        rng = np.random.default_rng(seed)
        windows = rng.integers(0, 5, (max(1, count // 2), config.window_bp)).astype(np.uint8)
        made = []
        for index in range(count):
            rna = "".join(rng.choice(list("ACGTN"), rng.integers(3, 300), p=[0.24] * 4 + [0.04]))
            protein = "".join(rng.choice(RESIDUES, rng.integers(1, 60)))
            made.append(
                TranscriptInput(
                    dna=windows[index % len(windows)] if complete or index % 5 != 1 else None,
                    rna=rna if complete or index % 4 != 2 or index % 5 == 1 else None,
                    protein=protein if complete or index % 3 else None,
                )
            )
        return made

    return make
