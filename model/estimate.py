"""Work of a forward pass in floating-point operations, counted from lengths alone. Numpy only.

A multiply-add counts as two operations; norms, activations and softmax are left out, as is usual. What this
implementation saves exactly (no padding, each DNA window once, cropped query rows, means before linear layers) is not
counted: the figure is the work that is done for real tokens. A training step costs three forward passes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from model.batch import PackedBatch
from model.config import MODALITIES, STEM_KERNEL, TOWER_KERNEL, EnformerConfig, IsoFormerConfig, RotaryConfig

# Gradients with respect to inputs and to weights each cost what the forward pass does.
TRAINING_FACTOR = 3
RESAMPLED = ("perceiver_resampler", "c_abstractor")


@dataclass(frozen=True, kw_only=True, eq=False)
class Workload:
    """What a batch asks of the network: B transcripts over W distinct DNA windows.

    `dna_lengths` (W,): states per distinct window that leave the DNA encoder. `window_of_transcript` (B,), −1 = none.
    `rna_lengths`, `protein_lengths` (B,): tokens with their specials, 0 = absent.
    """

    dna_lengths: np.ndarray
    window_of_transcript: np.ndarray
    rna_lengths: np.ndarray
    protein_lengths: np.ndarray

    @classmethod
    def of(cls, batch: PackedBatch, config: IsoFormerConfig) -> Workload:
        """The workload of a packed batch."""
        if isinstance(config.dna, EnformerConfig):
            dna = np.full(len(batch.windows), output_positions(config.dna, config.window_bp))
        else:
            dna = np.diff(batch.dna_offsets)
        return cls(
            dna_lengths=dna.astype(np.float64),
            window_of_transcript=batch.window_of_transcript,
            rna_lengths=np.diff(batch.rna_offsets).astype(np.float64),
            protein_lengths=np.diff(batch.protein_offsets).astype(np.float64),
        )

    @property
    def transcripts(self) -> int:
        """B."""
        return len(self.window_of_transcript)

    def distinct(self, name: str) -> np.ndarray:
        """Lengths of the sequences that the encoder of a modality reads."""
        return np.asarray(getattr(self, f"{name}_lengths"))

    def per_transcript(self, name: str) -> np.ndarray:
        """Lengths as transcripts see them, (B,); 0 = absent."""
        lengths = self.distinct(name)
        return np.append(lengths, 0.0)[self.window_of_transcript] if name == "dna" else lengths


@dataclass(frozen=True, kw_only=True)
class ForwardFlops:
    """Floating-point operations of one forward pass, by part."""

    dna: float
    rna: float
    protein: float
    fusion: float
    head: float

    @property
    def total(self) -> float:
        """Of all parts."""
        return self.dna + self.rna + self.protein + self.fusion + self.head


def forward_flops(config: IsoFormerConfig, work: Workload) -> ForwardFlops:
    """Operations of one forward pass over `work`; an encoder that the model lacks counts nothing."""
    towers = {}
    for name in MODALITIES:
        encoder = getattr(config, name)
        if isinstance(encoder, EnformerConfig):
            towers[name] = len(work.dna_lengths) * window_flops(encoder, config.window_bp)
            towers[name] += _relative_keys(encoder, config.window_bp) if len(work.dna_lengths) else 0.0
        else:
            towers[name] = rotary_flops(encoder, work.distinct(name)) if encoder is not None else 0.0
    kinds = {"concatenation": _no_fusion, "resampler_linear": _resampled_sum}
    fusion = kinds.get(config.fusion.kind, _cross_attention)
    targets = config.modalities if config.fusion.kind == "concatenation" else config.targets
    pooled = sum(getattr(config, name).output_width for name in targets)
    head = 2 * round(pooled * config.head.expansion) * (pooled + len(config.tissues)) * work.transcripts
    return ForwardFlops(**towers, fusion=sum(fusion(config, work, name) for name in targets), head=float(head))


def batch_flops(config: IsoFormerConfig, batch: PackedBatch) -> float:
    """Operations of one forward pass over a packed batch; × `TRAINING_FACTOR` for a training step."""
    return forward_flops(config, Workload.of(batch, config)).total


def rotary_flops(config: RotaryConfig, lengths: np.ndarray) -> float:
    """Operations of a rotary encoder on sequences of these token counts, (N,)."""
    width, inner = config.width, config.feed_forward_width
    gates = 2 if config.feed_forward == "gated_silu" else 1
    per_token = 2 * width * (3 * width + width + (gates + 1) * inner)
    return float(config.layers * (per_token * lengths.sum() + 4 * width * np.square(lengths, dtype=np.float64).sum()))


def window_flops(config: EnformerConfig, window_bp: int) -> float:
    """Operations of the Enformer trunk on one window."""
    flops = 2.0 * STEM_KERNEL * 4 * config.stem_channels * window_bp
    flops += _residual_pooled(config.stem_channels, window_bp)
    length = window_bp // 2
    for before, after in itertools.pairwise((config.stem_channels, *config.tower_channels)):
        flops += 2 * TOWER_KERNEL * before * after * length + _residual_pooled(after, length)
        length //= 2
    kept = output_positions(config, window_bp)
    for layer in range(config.layers):
        flops += _enformer_layer(config, length, kept if layer == config.layers - 1 else length)
    return flops + 2 * kept * config.width * config.output_channels


def output_positions(config: EnformerConfig, window_bp: int) -> int:
    """States that leave the Enformer per window."""
    return window_bp // config.bp_per_position - 2 * config.crop_positions


def _residual_pooled(channels: int, length: int) -> float:
    """A pointwise convolution at every position, and one for the pooling logits of each pair's difference."""
    return 2.0 * channels**2 * (length + length // 2)


def _enformer_layer(config: EnformerConfig, length: int, queries: int) -> float:
    keys, values, width = config.heads * config.key_size, config.heads * config.value_size, config.width
    projections = queries * width * keys + length * width * (keys + values) + queries * values * width
    attention = queries * (length * (keys + values) + (queries + length - 1) * keys)
    return 2.0 * (projections + attention + queries * 4 * width**2)


def _relative_keys(config: EnformerConfig, window_bp: int) -> float:
    """Keys of the relative distances: once per forward pass, however many windows."""
    length = window_bp // config.bp_per_position
    distances = [2 * length - 1] * (config.layers - 1) + [output_positions(config, window_bp) + length - 1]
    return 2.0 * config.position_features * config.heads * config.key_size * sum(distances[-config.layers :])


def _no_fusion(config: IsoFormerConfig, work: Workload, target: str) -> float:
    return 0.0


def _resampled_sum(config: IsoFormerConfig, work: Workload, target: str) -> float:
    width = getattr(config, target).output_width
    flops = 0.0
    for name in config.modalities:
        if name != target:
            context_width = getattr(config, name).output_width
            flops += _resampler(config, context_width, work.distinct(name))
            flops += 2 * context_width * width * work.transcripts
    return flops


def _cross_attention(config: IsoFormerConfig, work: Workload, target: str) -> float:
    width, heads = getattr(config, target).output_width, config.fusion.heads
    flops = 0.0
    queries, tokens = work.per_transcript(target), work.distinct(target)
    contexts = [name for name in config.modalities if name != target]
    for index, name in enumerate(contexts):
        context_width = getattr(config, name).output_width
        keys, distinct = work.per_transcript(name), work.distinct(name)
        if config.fusion.kind in RESAMPLED:
            compress = _resampler if config.fusion.kind == "perceiver_resampler" else _abstractor
            flops += compress(config, context_width, distinct)
            keys, distinct = (np.where(lengths > 0, config.fusion.latents, 0) for lengths in (keys, distinct))
        last = index == len(contexts) - 1
        pairs = float(queries @ keys)
        flops += 2 * width**2 * tokens.sum() + 2 * width * context_width * distinct.sum() * (1 if last else 2)
        flops += 2 * width * pairs * (1 if last else 2) + 2 * width**2 * work.transcripts
        if last:
            # Attention is averaged over the queries, then the context over the keys, then projected.
            flops += 2 * heads * (pairs + context_width * keys.sum()) + 2 * context_width * width * work.transcripts
        else:
            flops += 2 * width**2 * queries.sum()
            tokens = queries
    return flops


def _resampler(config: IsoFormerConfig, width: int, lengths: np.ndarray) -> float:
    fusion = config.fusion
    latents = fusion.latents * len(lengths)
    per_latent = 2 * width**2 * (2 + 2 * fusion.feed_forward_factor)
    block = per_latent * latents + 4 * width**2 * lengths.sum() + 4 * width * fusion.latents * lengths.sum()
    return float(fusion.depth * block)


def _abstractor(config: IsoFormerConfig, width: int, lengths: np.ndarray) -> float:
    fusion = config.fusion
    per_token = 2 * width * (3 + 2 * fusion.feed_forward_factor * width)
    tokens = lengths.sum() + fusion.latents * len(lengths)
    return float(fusion.depth * per_token * tokens + 2 * width * fusion.latents * lengths.sum())
