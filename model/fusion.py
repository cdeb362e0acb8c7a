"""How the modalities are joined: cross-attention as in the paper, or plain concatenation of what each pools to.

B transcripts, N sequences of one modality (transcripts, or distinct DNA windows), T tokens, L longest length,
D channels of the target, H heads of K channels. Source: the paper, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from model.config import IsoFormerConfig
from model.encoders.layout import TokenLayout, full_layout, masked_mean, padded_layout
from model.encoders.rotary_encoder import INITIAL_DEVIATION, initialise_linear
from model.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ModalityStates:
    """What an encoder made of one modality.

    `states`: (T, D) on `layout`, whose sequences are transcripts, or, where `of_transcript` int64 (B,) is given,
    sequences shared by transcripts (N = none). `present`: bool (B,), the transcript has this modality.
    """

    states: Tensor
    layout: TokenLayout
    of_transcript: Tensor | None
    present: Tensor

    def project(self, linear: nn.Linear) -> Tensor:
        """Apply `linear` once per distinct sequence, then lay it out per transcript: (B, L, D'), zero where absent."""
        return self._gather(self.layout.spread(linear(self.states)))

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
        return replace(self, states=spread.flatten(0, 1), layout=layout, of_transcript=None)

    def _gather(self, x: Tensor) -> Tensor:
        if self.of_transcript is None:
            return x
        return torch.cat([x, x.new_zeros(1, *x.shape[1:])]).index_select(0, self.of_transcript)


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

    def mix(self, target: ModalityStates, context: ModalityStates) -> Tensor:
        """What each token of the target reads from the context, before the dense layer: (B, L, D)."""
        q_BHLK = self._heads(target.project(self.query))
        k_BHLK, v_BHLK = self._heads(context.project(self.key)), self._heads(context.project(self.value))
        places = torch.arange(k_BHLK.shape[2], device=k_BHLK.device)
        # A transcript without context attends to one zero vector: finite, and left out by `finish`.
        key_mask = places < context.lengths().clamp(min=1)[:, None]
        mixed = F.scaled_dot_product_attention(q_BHLK, k_BHLK, v_BHLK, attn_mask=key_mask[:, None, None])
        return mixed.transpose(1, 2).flatten(2)

    def finish(self, mixed: Tensor, attended: Tensor) -> Tensor:
        """The dense layer of `mixed` (…, D) where `attended` (…,) is true; the absent term elsewhere."""
        out: Tensor = self.dense(mixed)
        other = out.new_zeros(()) if self.absent is None else self.dense(self.value(self.absent))
        return torch.where(attended[..., None], out, other)

    def _heads(self, x_BLD: Tensor) -> Tensor:
        return x_BLD.unflatten(2, (self.heads, -1)).transpose(1, 2)


class CrossAttentionStack(nn.Module):
    """One target attends to each other modality in turn, adding what it reads, and is averaged over its tokens."""

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

    def forward(self, states: Mapping[str, ModalityStates]) -> Tensor:
        """Pooled states of the target, (B, D); meaningless where it is absent.

        The mean runs before the dense layer, which is linear: mean(dense(x)) = dense(mean(x)).
        """
        target = states[self.target]
        lengths = target.lengths()
        pooled_BD = target.mean()
        last = len(self.layers) - 1
        for index, (name, layer) in enumerate(self.layers.items()):
            assert isinstance(layer, CrossAttention)
            attended = states[name].lengths() > 0
            mixed_BLD = layer.mix(target, states[name])
            pooled_BD = pooled_BD + layer.finish(masked_mean(mixed_BLD, lengths), attended)
            if index < last:
                target = target.per_transcript()
                term_TD = layer.finish(target.layout.collect(mixed_BLD), attended[target.layout.row])
                target = replace(target, states=target.states + term_TD)
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
        kind = MeanPool if concatenate else CrossAttentionStack
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


def window_states(states_WQD: Tensor, of_transcript: Tensor, present: Tensor) -> ModalityStates:
    """States of distinct DNA windows (W, Q, D), shared by the transcripts that `of_transcript` (B,) names; W = none."""
    windows, positions = states_WQD.shape[:2]
    layout = full_layout(windows, positions, states_WQD.device)
    return ModalityStates(states=states_WQD.flatten(0, 1), layout=layout, of_transcript=of_transcript, present=present)
