"""The configuration of an IsoFormer: typed, frozen, strict when read, numpy only.

Facts that the paper leaves open are settings here, with the chosen default named in their docstring.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from model.errors import InputError
from model.tokenizers import ESM_VOCABULARY, SIXMER_VOCABULARY

MODALITIES = ("dna", "rna", "protein")
# Convolutions of the Enformer: the first one, and the widening one of each tower stage.
STEM_KERNEL, TOWER_KERNEL = 15, 5
GTEX_TISSUES = (
    *("Adipose Tissue", "Adrenal Gland", "Bladder", "Blood", "Blood Vessel", "Brain", "Breast", "Cervix Uteri"),
    *("Colon", "Esophagus", "Fallopian Tube", "Heart", "Kidney", "Liver", "Lung", "Muscle", "Nerve", "Ovary"),
    *("Pancreas", "Pituitary", "Prostate", "Salivary Gland", "Skin", "Small Intestine", "Spleen", "Stomach"),
    *("Testis", "Thyroid", "Uterus", "Vagina"),
)


@dataclass(frozen=True, kw_only=True)
class EnformerConfig:
    """The Enformer trunk. Published: window 196,608 bp, six tower stages, 11 layers, 896 of 1,536 positions kept.

    `stem_channels` is the width of the stem, `tower_channels` one width per tower stage; every stage (and the stem)
    halves the length. `crop_positions` are dropped on each side after the transformer. `output_channels` is twice the
    width of the transformer as published. `gamma_basis`: "per_distance" normalises over the features of one distance
    (the released IsoFormer was tuned with it), "per_basis" over positions (raw Enformer weights expect it).
    `batch_norm`: "frozen" uses running statistics, "global" the distinct windows of the whole batch, over all ranks.
    """

    kind: Literal["enformer"] = "enformer"
    stem_channels: int = 768
    tower_channels: tuple[int, ...] = (768, 896, 1024, 1152, 1280, 1536)
    layers: int = 11
    heads: int = 8
    key_size: int = 64
    value_size: int = 192
    position_features: int = 192
    crop_positions: int = 320
    output_channels: int = 3072
    attention_dropout: float = 0.05
    position_dropout: float = 0.01
    dropout: float = 0.4
    output_dropout: float = 0.05
    gamma_basis: Literal["per_distance", "per_basis"] = "per_distance"
    batch_norm: Literal["frozen", "global"] = "frozen"

    def __post_init__(self) -> None:
        if not self.tower_channels or self.position_features % 6:
            raise InputError(
                where="dna",
                expected="at least one tower stage, and position_features a multiple of 6",
                found=f"{len(self.tower_channels)} stages, {self.position_features} position_features",
                fix="Correct the value.",
            )

    @property
    def width(self) -> int:
        """Channels of the transformer."""
        return self.tower_channels[-1]

    @property
    def output_width(self) -> int:
        """Channels that leave the encoder."""
        return self.output_channels

    @property
    def bp_per_position(self) -> int:
        """Base pairs that one output position stands for."""
        return int(2 ** (1 + len(self.tower_channels)))


@dataclass(frozen=True, kw_only=True)
class RotaryConfig:
    """A pre-norm rotary encoder: ESM-2 (`feed_forward="gelu"`) or Nucleotide Transformer v2 (`"gated_silu"`).

    `max_tokens` counts CLS and, for proteins, EOS. `token_dropout` is ESM-2's rescaling of embeddings by 0.88.
    `layer_norm_eps`: 1e-5 as trained (public PyTorch configurations say 1e-12 for Nucleotide Transformer v2).
    `embedding_dropout`, `dropout` regularise training from scratch and are 0 in the published models.
    """

    kind: Literal["rotary"] = "rotary"
    alphabet: Literal["sixmer", "esm"]
    layers: int
    width: int
    heads: int
    feed_forward_width: int
    feed_forward: Literal["gelu", "gated_silu"]
    max_tokens: int
    token_dropout: bool = False
    layer_norm_eps: float = 1e-5
    embedding_dropout: float = 0.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % (2 * self.heads):
            raise InputError(
                where=f"{self.alphabet} encoder",
                expected="a width that is an even number of channels for each head",
                found=f"width {self.width}, {self.heads} heads",
                fix="Change width or heads.",
            )

    @property
    def output_width(self) -> int:
        """Channels that leave the encoder."""
        return self.width

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return SIXMER_VOCABULARY if self.alphabet == "sixmer" else ESM_VOCABULARY


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """How the modalities are joined (paper, section 3).

    `targets`: which modalities attend to the others and are pooled; ("dna",) as in the released checkpoint,
    all three as in the paper. A target that the model does not have is ignored. `heads` per cross-attention.
    `absent`: the term of an absent context is skipped (paper), computed on its special tokens alone (released
    checkpoint), or replaced by a learned vector. `absent_slot`: what stands in the head's input for an absent target.
    `latents`, `depth`, `feed_forward_factor` size the resampler variants and the C-Abstractor (not published).
    """

    kind: Literal["cross_attention", "perceiver_resampler", "resampler_linear", "c_abstractor", "concatenation"] = (
        "cross_attention"
    )
    targets: tuple[Literal["dna", "rna", "protein"], ...] = ("dna",)
    heads: int = 8
    absent: Literal["skip", "specials", "learned"] = "skip"
    absent_slot: Literal["zero", "learned"] = "zero"
    latents: int = 64
    depth: int = 2
    feed_forward_factor: int = 4


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Linear(d, hidden) → GELU → Linear(hidden, tissues); hidden is `expansion` × d (activation inferred)."""

    expansion: float = 2.0
    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class IsoFormerConfig:
    """Everything that defines an IsoFormer besides its weights.

    `window_bp` is the length of the DNA window. `output_mean` and `output_std` (one per tissue, log1p TPM) undo the
    standardisation of the labels; empty means mean 0 and deviation 1.
    """

    schema_version: int = 1
    name: str = "isoformer"
    window_bp: int = 196_608
    dna: EnformerConfig | RotaryConfig | None = field(default_factory=EnformerConfig)
    rna: RotaryConfig | None = None
    protein: RotaryConfig | None = None
    fusion: FusionConfig = field(default_factory=FusionConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    tissues: tuple[str, ...] = GTEX_TISSUES
    output_mean: tuple[float, ...] = ()
    output_std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.modalities:
            raise InputError(
                where="model",
                expected="at least one encoder",
                found="none",
                fix="Set model.modalities to dna, rna or protein.",
            )
        if isinstance(self.dna, EnformerConfig):
            step = self.dna.bp_per_position
            kept = self.window_bp // step - 2 * self.dna.crop_positions
            if self.window_bp % step or kept <= 0:
                raise InputError(
                    where="window_bp",
                    expected=f"a multiple of {step} bp, longer than the {2 * self.dna.crop_positions} cropped",
                    found=f"{self.window_bp} bp",
                    fix="Choose another window or crop_positions.",
                )

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that this model has an encoder for, in the order dna, rna, protein."""
        return tuple(name for name in MODALITIES if getattr(self, name) is not None)

    @property
    def targets(self) -> tuple[str, ...]:
        """The fusion targets that this model has an encoder for; its only modality where there is one."""
        kept = tuple(name for name in self.fusion.targets if name in self.modalities)
        return kept or self.modalities[:1]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data that `from_dict` reads back to an equal configuration."""
        return typing.cast(dict[str, Any], _plain(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> IsoFormerConfig:
        """Read a configuration; an unknown or mistyped key raises `InputError` naming the nearest known key."""
        return typing.cast(IsoFormerConfig, _build(cls, data, "config.json"))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _build(cls: type, data: Any, where: str) -> Any:
    """Build dataclass `cls` from JSON data, strictly."""
    if not isinstance(data, dict):
        raise InputError(where=where, expected="an object", found=type(data).__name__, fix="Correct the file.")
    hints = typing.get_type_hints(cls)
    for key in data:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, 1)
            raise InputError(
                where=f"{where}: key {key!r}",
                expected="a known key",
                found="an unknown one",
                fix=f"Did you mean {near[0]!r}?" if near else f"Known keys: {', '.join(sorted(hints))}.",
            )
    values = {key: _convert(hints[key], value, f"{where}: {key}") for key, value in data.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise InputError(
            where=where, expected="all required keys", found=str(error), fix="Add the missing key."
        ) from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Convert one JSON value to the annotated type, or raise `InputError`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        classes = [item for item in arguments if item is not types.NoneType]
        kinds = {getattr(item, "kind", None): item for item in classes}
        if len(classes) > 1 and isinstance(value, dict) and value.get("kind") in kinds:
            return _build(kinds[value["kind"]], value, where)
        return _convert(classes[0], value, where)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, where)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_convert(arguments[0], item, where) for item in value)
    if origin is Literal:
        good = value in arguments
    elif hint is float:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        value = float(value) if good else value
    else:
        good = isinstance(value, hint) and not (hint is int and isinstance(value, bool))
    if not good:
        wanted = (
            f"one of {', '.join(map(str, arguments))}" if origin is Literal else getattr(hint, "__name__", str(hint))
        )
        raise InputError(where=where, expected=wanted, found=repr(value), fix="Correct the value.")
    return value
