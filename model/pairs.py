"""Which tokens of a target attend to which tokens of a context, without padding either to the batch's longest.

B transcripts, n of them in a block, T tokens, L target and C context tokens of a block's longest, D channels.
Transcripts are put into blocks of like target and like context length; one that lacks either is in none. Where all do,
there is one block of none: what runs over it computes nothing, and leaves every parameter a gradient of zero.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.encoders.layout import TokenLayout, mean_weights, place, to_device

# A block holds lengths from this share of its longest to its longest, likewise for the contexts.
PAIR_RATIO = 0.7
PAIR_MIN_LENGTH = 48


@dataclass(frozen=True, kw_only=True)
class Side:
    """Tokens of one modality, in the order of the blocks.

    `index`: int64, the flat token of each; None where all tokens stand as they are (padded graph). `sequence`: int64
    (pairs,), where whole rectangles (`rectangle` tokens each) are taken. `distinct`: no token is taken twice. `slots`:
    per block, the place of each token in its (n · L) rectangle, None where the rectangle is full.
    """

    index: Tensor | None
    sequence: Tensor | None
    rectangle: int
    distinct: bool
    tokens: tuple[int, ...]
    slots: tuple[Tensor | None, ...]
    shapes: tuple[tuple[int, int], ...]
    lengths: tuple[Tensor, ...]

    def blocks(self, x_TD: Tensor) -> list[Tensor]:
        """(T, D) → (n, L, D) of each block, zero where there is no token."""
        if self.sequence is not None:
            rows = x_TD.unflatten(0, (-1, self.rectangle)).index_select(0, self.sequence).flatten(0, 1)
        elif self.index is None:
            rows = x_TD
        elif self.distinct:
            rows = place(x_TD, self.index, None, len(self.index))
        else:
            rows = x_TD.index_select(0, self.index)
        parts = rows.split(self.tokens) if len(self.tokens) > 1 else (rows,) * len(self.tokens)
        return [
            (part if slot is None else place(part, None, slot, n * length)).view(n, length, x_TD.shape[1])
            for part, slot, (n, length) in zip(parts, self.slots, self.shapes, strict=True)
        ]

    def masks(self) -> list[Tensor | None]:
        """bool (n, 1, 1, L): True at tokens; None where all are."""
        return [
            None if slot is None else (torch.arange(length, device=own.device) < own[:, None])[:, None, None]
            for slot, own, (_, length) in zip(self.slots, self.lengths, self.shapes, strict=True)
        ]

    def weights(self, like: Tensor, block: int) -> Tensor:
        """What each token counts in its sequence's mean, (n, L)."""
        return mean_weights(self.lengths[block], self.shapes[block][1], like)

    def join(self, blocks: list[Tensor], tokens: int) -> Tensor:
        """The inverse of `blocks` for distinct tokens: (tokens, D), zero for tokens that are in no block."""
        parts = [
            block.flatten(0, 1) if slot is None else place(block.flatten(0, 1), slot, None, len(slot))
            for block, slot in zip(blocks, self.slots, strict=True)
        ]
        rows = torch.cat(parts)
        if self.index is None:
            return rows
        return place(rows, None, self.index, tokens)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Transcripts in blocks: int64 (pairs,) in the order of the blocks, and both sides."""

    transcripts: Tensor
    total: int
    target: Side
    context: Side

    def to_transcripts(self, blocks: list[Tensor]) -> Tensor:
        """One row (n, D) per pair → (B, D), zero for transcripts in no block."""
        return place(torch.cat(blocks), None, self.transcripts, self.total)


def pair_up(target: TokenLayout, target_of_B: np.ndarray, context: TokenLayout, context_of_B: np.ndarray) -> Pairs:
    """Blocks of transcripts; `…_of_B` (B,) names each transcript's sequence in a layout, its count = none."""
    assert target.counts is not None
    assert context.counts is not None
    queries = np.append(target.counts, 0)[target_of_B]
    keys = np.append(context.counts, 0)[context_of_B]
    blocks = _blocks(queries, keys)
    order = np.concatenate(blocks)
    device = target.lengths.device
    return Pairs(
        transcripts=to_device(order, device),
        total=len(queries),
        target=_side(target, target_of_B, blocks, queries, device),
        context=_side(context, context_of_B, blocks, keys, device),
    )


def _blocks(queries: np.ndarray, keys: np.ndarray) -> list[np.ndarray]:
    """Transcripts with queries and keys, in blocks of like lengths of both."""
    paired = np.flatnonzero((queries > 0) & (keys > 0))
    blocks = []
    for rows in _alike(paired, queries):
        blocks.extend(_alike(rows, keys))
    return blocks or [paired]


def _alike(rows: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    rows = rows[np.argsort(lengths[rows], kind="stable")]
    cuts = [len(rows)]
    while cuts[-1]:
        longest = lengths[rows[cuts[-1] - 1]]
        shortest = 0 if longest <= PAIR_MIN_LENGTH else longest * PAIR_RATIO
        cuts.append(int(np.searchsorted(lengths[rows], shortest)))
    return [rows[begin:end] for begin, end in itertools.pairwise(cuts[::-1])]


def _side(
    layout: TokenLayout, of_B: np.ndarray, blocks: list[np.ndarray], lengths: np.ndarray, device: torch.device
) -> Side:
    assert layout.first is not None
    assert layout.counts is not None
    sequences = of_B[np.concatenate(blocks)]
    counts = layout.counts[sequences]
    # Whole rectangles are copied row by row, which costs less than token by token.
    whole = layout.slot is None and bool((counts == layout.length).all())
    ends = np.cumsum(counts)
    index = np.arange(counts.sum()) + np.repeat(layout.first[sequences] - (ends - counts), counts)
    shapes = tuple((len(rows), int(lengths[rows].max(initial=1))) for rows in blocks)
    slots = []
    for rows, (_, length) in zip(blocks, shapes, strict=True):
        full = bool((lengths[rows] == length).all())
        slots.append(None if full else to_device(np.flatnonzero(np.arange(length) < lengths[rows][:, None]), device))
    return Side(
        index=to_device(index, device),
        sequence=to_device(sequences, device) if whole else None,
        rectangle=layout.length,
        distinct=len(np.unique(sequences)) == len(sequences),
        tokens=tuple(int(lengths[rows].sum()) for rows in blocks),
        slots=tuple(slots),
        shapes=shapes,
        lengths=tuple(to_device(lengths[rows], device) for rows in blocks),
    )


@dataclass(frozen=True, kw_only=True)
class PaddedSide:
    """One modality of the padded graph, whose lengths only the device knows: one block of all transcripts."""

    layout: TokenLayout
    of_transcript: Tensor | None
    lengths: Tensor

    def blocks(self, x_TD: Tensor) -> list[Tensor]:
        """(T, D) → (B, L, D), zero where a transcript has no sequence."""
        x_NLD = self.layout.spread(x_TD)
        if self.of_transcript is None:
            return [x_NLD]
        return [torch.cat([x_NLD, x_NLD.new_zeros(1, *x_NLD.shape[1:])]).index_select(0, self.of_transcript)]

    def masks(self) -> list[Tensor | None]:
        """bool (B, 1, 1, L); without tokens a transcript attends to one zero vector: finite, and left out later."""
        places = torch.arange(self.layout.length, device=self.lengths.device)
        return [(places < self.lengths.clamp(min=1)[:, None])[:, None, None]]

    def weights(self, like: Tensor, block: int) -> Tensor:
        """What each token counts in its sequence's mean, (B, L)."""
        return mean_weights(self.lengths, self.layout.length, like)

    def join(self, blocks: list[Tensor], tokens: int) -> Tensor:
        """(B, L, D) → (B · L, D)."""
        return blocks[0].flatten(0, 1)


@dataclass(frozen=True, kw_only=True)
class PaddedPairs:
    """All transcripts in one block, padded: what the ONNX graph does."""

    target: PaddedSide
    context: PaddedSide

    def to_transcripts(self, blocks: list[Tensor]) -> Tensor:
        """(B, D) as it is."""
        return blocks[0]
