"""Named model sizes: the published ones, and small ones for machines without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from model.config import EnformerConfig, FusionConfig, HeadConfig, IsoFormerConfig, RotaryConfig
from model.errors import InputError

NT_WINDOW_BP = 12_282


def nucleotide_transformer(size: Literal["50m", "100m", "250m", "500m"]) -> RotaryConfig:
    """Nucleotide Transformer v2 as published: 2,048 six-mer tokens, gated SiLU feed-forward."""
    layers, width, heads, feed_forward = {
        "50m": (12, 512, 16, 2048),
        "100m": (22, 512, 16, 2048),
        "250m": (24, 768, 16, 3072),
        "500m": (29, 1024, 16, 4096),
    }[size]
    return RotaryConfig(
        alphabet="sixmer",
        layers=layers,
        width=width,
        heads=heads,
        feed_forward_width=feed_forward,
        feed_forward="gated_silu",
        max_tokens=2048,
    )


def esm2(size: Literal["8m", "35m", "150m", "650m"]) -> RotaryConfig:
    """ESM-2 as published, cropped to 2,046 residues with CLS and EOS."""
    layers, width, heads = {"8m": (6, 320, 20), "35m": (12, 480, 20), "150m": (30, 640, 20), "650m": (33, 1280, 20)}[
        size
    ]
    return RotaryConfig(
        alphabet="esm",
        layers=layers,
        width=width,
        heads=heads,
        feed_forward_width=4 * width,
        feed_forward="gelu",
        max_tokens=2048,
        token_dropout=True,
    )


def _isoformer() -> IsoFormerConfig:
    return IsoFormerConfig(
        name="isoformer", dna=EnformerConfig(), rna=nucleotide_transformer("250m"), protein=esm2("150m")
    )


def _isoformer_nt() -> IsoFormerConfig:
    return replace(_isoformer(), name="isoformer-nt", window_bp=NT_WINDOW_BP, dna=nucleotide_transformer("250m"))


def _small_rotary(alphabet: Literal["sixmer", "esm"], *, layers: int, width: int, max_tokens: int) -> RotaryConfig:
    return RotaryConfig(
        alphabet=alphabet,
        layers=layers,
        width=width,
        heads=2,  # narrow heads cost a CPU more than they give
        feed_forward_width=2 * width,
        feed_forward="gated_silu" if alphabet == "sixmer" else "gelu",
        max_tokens=max_tokens,
        embedding_dropout=0.1,
    )


def _tiny() -> IsoFormerConfig:
    """The three-encoder architecture at a size that trains from scratch on two CPU cores in minutes."""
    return IsoFormerConfig(
        name="tiny",
        window_bp=512,
        dna=EnformerConfig(
            stem_channels=48,
            tower_channels=(48, 64, 64),
            layers=1,
            heads=2,
            key_size=16,
            value_size=32,
            position_features=24,
            crop_positions=0,
            output_channels=96,
            dropout=0.1,
            attention_dropout=0.0,
            position_dropout=0.0,
            batch_norm="global",
        ),
        rna=_small_rotary("sixmer", layers=2, width=64, max_tokens=512),
        protein=_small_rotary("esm", layers=2, width=64, max_tokens=512),
        fusion=FusionConfig(targets=("dna", "rna", "protein"), heads=2),
        head=HeadConfig(expansion=1.0),
    )


def _sanity() -> IsoFormerConfig:
    """The smallest model that has every part: for tests of the path, not of the prediction."""
    return replace(
        _tiny(),
        name="sanity",
        dna=EnformerConfig(
            stem_channels=16,
            tower_channels=(16, 16),
            layers=1,
            heads=2,
            key_size=8,
            value_size=8,
            position_features=12,
            crop_positions=0,
            output_channels=32,
            dropout=0.0,
            attention_dropout=0.0,
            position_dropout=0.0,
            output_dropout=0.0,
            batch_norm="global",
        ),
        rna=_small_rotary("sixmer", layers=1, width=16, max_tokens=256),
        protein=_small_rotary("esm", layers=1, width=16, max_tokens=256),
    )


def _tiny_nt() -> IsoFormerConfig:
    """`tiny` with a DNA encoder that reads six-mers, as in isoformer-nt."""
    return replace(_tiny(), name="tiny-nt", dna=_small_rotary("sixmer", layers=2, width=64, max_tokens=512))


def _sanity_nt() -> IsoFormerConfig:
    """`sanity` with a DNA encoder that reads six-mers."""
    return replace(_sanity(), name="sanity-nt", dna=_small_rotary("sixmer", layers=1, width=16, max_tokens=256))


PRESETS: dict[str, Callable[[], IsoFormerConfig]] = {
    "isoformer": _isoformer,
    "isoformer-nt": _isoformer_nt,
    "tiny": _tiny,
    "tiny-nt": _tiny_nt,
    "sanity": _sanity,
    "sanity-nt": _sanity_nt,
}


def preset(name: str) -> IsoFormerConfig:
    """The configuration of a named size; an unknown name raises `InputError` listing the known ones."""
    if name not in PRESETS:
        raise InputError(
            where="model.preset", expected=f"one of {', '.join(PRESETS)}", found=repr(name), fix="Correct the name."
        )
    return PRESETS[name]()
