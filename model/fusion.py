"""How the modalities are joined: cross-attention as in the paper, its variants, or concatenation of what each pools to.

B transcripts, N sequences of one modality (transcripts, or distinct DNA windows), T tokens, L longest length,
D channels of the target, H heads of K channels. Source: the paper, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from model.config import IsoFormerConfig
from model.encoders.layout import TokenLayout, full_layout, padded_layout, with_counts
from model.encoders.rotary_encoder import INITIAL_DEVIATION, initialise_linear
from model.errors import InputError
from model.pairs import PaddedPairs, PaddedSide, Pairs, pair_up
from model.resampler import CAbstractor, PerceiverResampler, attention

COMPRESSORS: dict[str, type[nn.Module]] = {"perceiver_resampler": PerceiverResampler, "c_abstractor": CAbstractor}


@dataclass(frozen=True, kw_only=True)
class ModalityStates:
    """What an encoder made of one modality.

    `states`: (T, D) on `layout`, whose sequences are transcripts, or, where `of_transcript` int64 (B,) is given,
    sequences shared by transcripts (N = none), on the host too where it knows them. `present`: bool (B,), the
    transcript has this modality.
    """

    states: Tensor
    layout: TokenLayout
    of_transcript: Tensor | None
    present: Tensor
    of_transcript_host: np.ndarray | None = None

    def mean(self) -> Tensor:
        """Mean state per transcript, (B, D); zero where it has no tokens."""
        return self._gather(self.layout.mean(self.states))

    def lengths(self) -> Tensor:
        """Tokens per transcript, int64 (B,)."""
        return self._gather(self.layout.lengths)

    def per_transcript(self) -> ModalityStates:
        """The same states with a sequence of its own for each transcript."""
        if self.of_transcript is None:
            return self
        spread = self._gather(self.layout.spread(self.states))
        layout = padded_layout(spread.shape[0], spread.shape[1], self.lengths())
        if self.layout.counts is not None:
            layout = with_counts(layout, np.append(self.layout.counts, 0)[self.sequence_of_transcript()])
        return replace(self, states=spread.flatten(0, 1), layout=layout, of_transcript=None, of_transcript_host=None)

    def compressed(self, compressor: nn.Module) -> ModalityStates:
        """Each distinct sequence compressed to a fixed number of tokens; none where it had none."""
        tokens_NMD = compressor(self.layout.spread(self.states), self.layout.lengths)
        sequences, tokens = tokens_NMD.shape[:2]
        layout = padded_layout(sequences, tokens, torch.where(self.layout.lengths > 0, tokens, 0))
        if self.layout.counts is not None:
            layout = with_counts(layout, np.where(self.layout.counts > 0, tokens, 0))
        return replace(self, states=tokens_NMD.flatten(0, 1), layout=layout)

    def sequence_of_transcript(self) -> np.ndarray:
        """int64 (B,) on the host: the sequence of each transcript."""
        return np.arange(self.layout.sequences) if self.of_transcript_host is None else self.of_transcript_host

    def padded_side(self) -> PaddedSide:
        """For the padded graph."""
        return PaddedSide(layout=self.layout, of_transcript=self.of_transcript, lengths=self.lengths())

    def _gather(self, x: Tensor) -> Tensor:
        if self.of_transcript is None:
            return x
        return torch.cat([x, x.new_zeros(1, *x.shape[1:])]).index_select(0, self.of_transcript)


def pairs_of(target: ModalityStates, context: ModalityStates) -> Pairs | PaddedPairs:
    """Which transcripts attend together; padded where only the device knows the lengths."""
    if target.layout.counts is None or context.layout.counts is None:
        return PaddedPairs(target=target.padded_side(), context=context.padded_side())
    return pair_up(target.layout, target.sequence_of_transcript(), context.layout, context.sequence_of_transcript())


class CrossAttention(nn.Module):
    """A target attends to one other modality; no norm, no feed-forward, no positions (paper, section 3).

    `absent`: what a context without tokens contributes: nothing, or the value of a learned vector.
    """

    def __init__(self, width: int, context_width: int, heads: int, *, learned_absent: bool) -> None:
        super().__init__()
        if width % heads:
            raise InputError(
                where="model.fusion.heads",
                expected=f"a divisor of the target's {width} channels",
                found=str(heads),
                fix="Choose another number of heads.",
            )
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(context_width, width)
        self.value = nn.Linear(context_width, width)
        self.dense = nn.Linear(width, width)
        for linear in (self.query, self.key, self.value, self.dense):
            initialise_linear(linear, 1.0)
        self.absent = nn.Parameter(torch.randn(context_width) * INITIAL_DEVIATION) if learned_absent else None

    def mix(self, target: ModalityStates, context: ModalityStates, pairs: Pairs | PaddedPairs) -> list[Tensor]:
        """What each token of the target reads from the context, before the dense layer: (n, L, D) of each block."""
        query = pairs.target.blocks(self.query(target.states))
        key, value = (pairs.context.blocks(linear(context.states)) for linear in (self.key, self.value))
        mixed = []
        for q_nLD, k_nCD, v_nCD, mask in zip(query, key, value, pairs.context.masks(), strict=True):
            q_nHLK, k_nHCK, v_nHCK = (self._heads(x) for x in (q_nLD, k_nCD, v_nCD))
            mixed_nHLK = attention(q_nHLK, k_nHCK, v_nHCK, mask)
            mixed.append(mixed_nHLK.transpose(1, 2).flatten(2))
        return mixed

    def mix_mean(self, target: ModalityStates, context: ModalityStates, pairs: Pairs | PaddedPairs) -> Tensor:
        """The mean of `mix` over the target's tokens: (B, D), of no meaning for transcripts that lack either.

        mean(p·v) = mean(p)·v, and v is linear in the context: values are projected once per transcript, not per token.
        """
        query = pairs.target.blocks(self.query(target.states))
        key, states = pairs.context.blocks(self.key(context.states)), pairs.context.blocks(context.states)
        read = []
        for block, (q_nLD, k_nCD, x_nCD, mask) in enumerate(
            zip(query, key, states, pairs.context.masks(), strict=True)
        ):
            q_nHLK, k_nHCK = self._heads(q_nLD), self._heads(k_nCD)
            logits = (q_nHLK * q_nHLK.shape[-1] ** -0.5) @ k_nHCK.transpose(2, 3)
            if mask is not None:
                logits = logits.masked_fill(~mask, -torch.inf)
            mean_nHC = (pairs.target.weights(logits, block)[:, None, None] @ logits.softmax(dim=-1))[:, :, 0]
            read.append((mean_nHC @ x_nCD).flatten(1))
        context_BHD = pairs.to_transcripts(read).unflatten(1, (self.heads, -1))
        value_HKD = self.value.weight.unflatten(0, (self.heads, -1))
        return torch.einsum("bhd,hkd->bhk", context_BHD, value_HKD).flatten(1) + self.value.bias

    def finish(self, mixed: Tensor, attended: Tensor) -> Tensor:
        """The dense layer of `mixed` (…, D) where `attended` (…,) is true; the absent term elsewhere."""
        out: Tensor = self.dense(mixed)
        other = out.new_zeros(()) if self.absent is None else self.dense(self.value(self.absent))
        return torch.where(attended[..., None], out, other)

    def _heads(self, x_BLD: Tensor) -> Tensor:
        return x_BLD.unflatten(2, (self.heads, -1)).transpose(1, 2)


class CrossAttentionStack(nn.Module):
    """One target attends to each other modality in turn, adding what it reads, and is averaged over its tokens.

    With a Perceiver Resampler or a C-Abstractor it attends to the compressed tokens of each.
    """

    def __init__(self, config: IsoFormerConfig, target: str) -> None:
        super().__init__()
        self.target = target
        widths = {name: getattr(config, name).output_width for name in config.modalities}
        self.layers = nn.ModuleDict(
            {
                name: CrossAttention(
                    widths[target], width, config.fusion.heads, learned_absent=config.fusion.absent == "learned"
                )
                for name, width in widths.items()
                if name != target
            }
        )
        self.compressors = nn.ModuleDict()
        if config.fusion.kind in COMPRESSORS:
            kind = COMPRESSORS[config.fusion.kind]
            self.compressors.update({name: kind(widths[name], config.fusion) for name in self.layers})

    def forward(self, states: Mapping[str, ModalityStates]) -> Tensor:
        """Pooled states of the target, (B, D); meaningless where it is absent.

        The mean runs before the dense layer, which is linear: mean(dense(x)) = dense(mean(x)); in the last layer, whose
        tokens nobody else reads, also before the values.
        """
        target = states[self.target]
        pooled_BD = target.mean()
        last = len(self.layers) - 1
        for index, (name, layer) in enumerate(self.layers.items()):
            assert isinstance(layer, CrossAttention)
            context = states[name]
            attended = context.lengths() > 0
            if name in self.compressors:
                context = context.compressed(self.compressors[name])
            pairs = pairs_of(target, context)
            if index == last:
                pooled_BD = pooled_BD + layer.finish(layer.mix_mean(target, context, pairs), attended)
                break
            mixed = layer.mix(target, context, pairs)
            means = [(pairs.target.weights(x, block)[:, None] @ x)[:, 0] for block, x in enumerate(mixed)]
            pooled_BD = pooled_BD + layer.finish(pairs.to_transcripts(means), attended)
            if target.of_transcript is not None:
                target = target.per_transcript()
                pairs = pairs_of(target, context)
            mixed_TD = pairs.target.join(mixed, target.states.shape[0])
            target = replace(target, states=target.states + layer.finish(mixed_TD, attended[target.layout.row]))
        return pooled_BD


class ResampledSum(nn.Module):
    """The mean state of one target, plus a linear projection of the mean of each other modality's latents."""

    def __init__(self, config: IsoFormerConfig, target: str) -> None:
        super().__init__()
        self.target = target
        widths = {name: getattr(config, name).output_width for name in config.modalities}
        contexts = {name: width for name, width in widths.items() if name != target}
        self.resamplers = nn.ModuleDict(
            {name: PerceiverResampler(width, config.fusion) for name, width in contexts.items()}
        )
        self.projections = nn.ModuleDict({name: nn.Linear(width, widths[target]) for name, width in contexts.items()})
        learned = contexts if config.fusion.absent == "learned" else {}
        self.absent = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(width) * INITIAL_DEVIATION) for name, width in learned.items()}
        )

    def forward(self, states: Mapping[str, ModalityStates]) -> Tensor:
        """(B, D)."""
        pooled_BD = states[self.target].mean()
        for name, projection in self.projections.items():
            context = states[name]
            term_BD = projection(context.compressed(self.resamplers[name]).mean())
            other = projection(self.absent[name]) if name in self.absent else term_BD.new_zeros(())
            pooled_BD = pooled_BD + torch.where((context.lengths() > 0)[:, None], term_BD, other)
        return pooled_BD


class MeanPool(nn.Module):
    """The mean state of one modality."""

    def __init__(self, config: IsoFormerConfig, target: str) -> None:
        super().__init__()
        self.target = target

    def forward(self, states: Mapping[str, ModalityStates]) -> Tensor:
        """(B, D)."""
        return states[self.target].mean()


class Fusion(nn.Module):
    """Pool each target modality, after it has attended to the others, and concatenate: (B, sum of widths)."""

    def __init__(self, config: IsoFormerConfig) -> None:
        super().__init__()
        concatenate = config.fusion.kind == "concatenation"
        targets = config.modalities if concatenate else config.targets
        kinds: dict[str, type[nn.Module]] = {"concatenation": MeanPool, "resampler_linear": ResampledSum}
        kind = kinds.get(config.fusion.kind, CrossAttentionStack)
        self.targets = nn.ModuleDict({name: kind(config, name) for name in targets})
        widths = {name: getattr(config, name).output_width for name in targets}
        self.output_width = sum(widths.values())
        self.absent_slots = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(width) * INITIAL_DEVIATION) for name, width in widths.items()}
            if config.fusion.absent_slot == "learned"
            else {}
        )

    def forward(self, states: Mapping[str, ModalityStates]) -> Tensor:
        """States of every modality → (B, output_width)."""
        pooled = []
        for name, target in self.targets.items():
            mean_BD = target(states)
            slot = self.absent_slots[name] if name in self.absent_slots else mean_BD.new_zeros(())
            pooled.append(torch.where(states[name].present[:, None], mean_BD, slot))
        return torch.cat(pooled, dim=1)


def window_states(
    states_WQD: Tensor, of_transcript: Tensor, present: Tensor, of_transcript_host: np.ndarray | None
) -> ModalityStates:
    """States of distinct DNA windows (W, Q, D), shared by the transcripts that `of_transcript` (B,) names; W = none."""
    windows, positions = states_WQD.shape[:2]
    return ModalityStates(
        states=states_WQD.flatten(0, 1),
        layout=full_layout(windows, positions, states_WQD.device, counted=of_transcript_host is not None),
        of_transcript=of_transcript,
        present=present,
        of_transcript_host=of_transcript_host,
    )
