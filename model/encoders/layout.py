"""Where tokens lie: one behind the other (packed), or in a padded rectangle for the ONNX graph.

N sequences, T tokens in all, L the longest length, D channels. Linear layers and norms run on flat tokens (T, D), so
that nothing is computed for padding; attention runs within blocks of sequences of like length. The padded layout has
T = N·L and one block, so that the same module code serves both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

# A block holds sequences from `BLOCK_RATIO` of its longest to its longest: a quarter more work at worst, a few blocks.
BLOCK_RATIO = 0.75
BLOCK_MIN_LENGTH = 32


@dataclass(frozen=True, kw_only=True)
class Block:
    """Sequences of like length whose tokens are contiguous: flat tokens `start` to `stop`.

    `slot`: (tokens,) place of each token in the (sequences · length) rectangle; None where the rectangle is full or
    already padded. `key_mask`: bool (sequences, 1, 1, length), None where every place holds a token.
    """

    start: int
    stop: int | None
    sequences: int
    length: int
    slot: Tensor | None
    key_mask: Tensor | None

    def spread(self, x_TD: Tensor) -> Tensor:
        """(T, D) of all tokens → (sequences, length, D) of this block, zero where there is no token."""
        return _spread(x_TD[self.start : self.stop], self.slot, self.sequences, self.length)

    def collect(self, x_NLD: Tensor) -> Tensor:
        """The inverse of `spread`: (sequences, length, D) → the block's tokens."""
        return _collect(x_NLD, self.slot)


@dataclass(frozen=True, kw_only=True)
class TokenLayout:
    """Tokens of N sequences.

    `row`, `position`: int64 (T,), the sequence of each token and its place there. `lengths`: int64 (N,).
    `slot`: as in `Block`, over all sequences in their given order; None in the padded layout.
    """

    sequences: int
    length: int
    row: Tensor
    position: Tensor
    lengths: Tensor
    slot: Tensor | None
    blocks: tuple[Block, ...]

    @property
    def mask(self) -> Tensor:
        """bool (N, L): True at tokens."""
        return torch.arange(self.length, device=self.lengths.device) < self.lengths[:, None]

    def spread(self, x_TD: Tensor) -> Tensor:
        """(T, D) → (N, L, D), zero where there is no token."""
        return _spread(x_TD, self.slot, self.sequences, self.length)

    def collect(self, x_NLD: Tensor) -> Tensor:
        """(N, L, D) → (T, D)."""
        return _collect(x_NLD, self.slot)

    def mean(self, x_TD: Tensor) -> Tensor:
        """Mean over each sequence's tokens: (T, D) → (N, D); zero for a sequence without tokens."""
        return masked_mean(self.spread(x_TD), self.lengths)


def masked_mean(x_NLD: Tensor, lengths: Tensor) -> Tensor:
    """Mean over the first `lengths` places of each sequence, (N, L, D) → (N, D); zero where the length is 0."""
    return torch.bmm(mean_weights(lengths, x_NLD)[:, None], x_NLD)[:, 0]


def mean_weights(lengths: Tensor, like: Tensor) -> Tensor:
    """1/length at the tokens of each sequence, 0 elsewhere: (N, L) for `like` (N, …, L, D)."""
    mask = torch.arange(like.shape[-2], device=like.device) < lengths[:, None]
    return mask.to(like.dtype) / lengths.clamp(min=1).to(like.dtype)[:, None]


def packed_layout(lengths: np.ndarray, device: torch.device) -> tuple[TokenLayout, np.ndarray]:
    """Layout of sequences of the given lengths, int64 (N,), and the order of their tokens in it.

    The second value, int64 (T,), indexes tokens that lie in the order of the sequences: sequences are sorted by length,
    so that each block is contiguous; `row` and `slot` still speak of the given order.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    row = np.repeat(order, lengths[order])
    first = np.cumsum(lengths) - lengths
    sorted_lengths = lengths[order]
    position = np.arange(len(row)) - np.repeat(np.cumsum(sorted_lengths) - sorted_lengths, sorted_lengths)
    longest = int(lengths.max(initial=1)) or 1
    layout = TokenLayout(
        sequences=len(lengths),
        length=longest,
        row=torch.from_numpy(row).to(device),
        position=torch.from_numpy(position).to(device),
        lengths=torch.from_numpy(lengths).to(device),
        slot=torch.from_numpy(row * longest + position).to(device),
        blocks=tuple(_blocks(sorted_lengths, device)),
    )
    return layout, first[row] + position


def _blocks(sorted_lengths: np.ndarray, device: torch.device) -> list[Block]:
    """Blocks over sequences in ascending order of length."""
    blocks: list[Block] = []
    ends = np.cumsum(sorted_lengths)
    stop = len(sorted_lengths)
    while stop:
        longest = int(sorted_lengths[stop - 1])
        shortest = 0 if longest <= BLOCK_MIN_LENGTH else longest * BLOCK_RATIO
        begin = int(np.searchsorted(sorted_lengths, shortest))
        own = sorted_lengths[begin:stop]
        full = own[0] == longest
        mask = np.arange(longest) < own[:, None]
        blocks.append(
            Block(
                start=int(ends[begin] - own[0]),
                stop=int(ends[stop - 1]),
                sequences=stop - begin,
                length=longest,
                slot=None if full else torch.from_numpy(np.flatnonzero(mask)).to(device),
                key_mask=None if full else torch.from_numpy(mask).to(device)[:, None, None],
            )
        )
        stop = begin
    return blocks[::-1]


def padded_layout(sequences: int, length: int, lengths: Tensor) -> TokenLayout:
    """Layout of a padded rectangle: tokens (N · L,), the padding included; lengths int64 (N,)."""
    places = torch.arange(length, device=lengths.device)
    # A sequence without tokens attends to its first padding, so that no softmax runs over nothing.
    key_mask = places < lengths.clamp(min=1)[:, None]
    block = Block(start=0, stop=None, sequences=sequences, length=length, slot=None, key_mask=key_mask[:, None, None])
    return TokenLayout(
        sequences=sequences,
        length=length,
        row=torch.arange(sequences, device=lengths.device)[:, None].expand(sequences, length).reshape(-1),
        position=places[None].expand(sequences, length).reshape(-1),
        lengths=lengths,
        slot=None,
        blocks=(block,),
    )


def full_layout(sequences: int, length: int, device: torch.device) -> TokenLayout:
    """Layout of a rectangle without padding: every sequence has `length` tokens."""
    return padded_layout(sequences, length, torch.full((sequences,), length, dtype=torch.int64, device=device))


def _spread(x_TD: Tensor, slot: Tensor | None, sequences: int, length: int) -> Tensor:
    if slot is None:
        return x_TD.reshape(sequences, length, x_TD.shape[-1])
    spread: Tensor = _Spread.apply(x_TD, slot, sequences * length)
    return spread.view(sequences, length, x_TD.shape[-1])


def _collect(x_NLD: Tensor, slot: Tensor | None) -> Tensor:
    flat = x_NLD.reshape(-1, x_NLD.shape[-1])
    if slot is None:
        return flat
    collected: Tensor = _Collect.apply(flat, slot)
    return collected


class _Spread(torch.autograd.Function):
    """Copy rows to distinct slots; its gradient is a gather (autograd would add, which is slower on a CPU)."""

    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, slot: Tensor, slots: int) -> Tensor:
        ctx.save_for_backward(slot)
        return x_TD.new_zeros(slots, x_TD.shape[1]).index_copy_(0, slot, x_TD)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slot,) = ctx.saved_tensors
        return grad.index_select(0, slot), None, None


class _Collect(torch.autograd.Function):
    """Gather rows of distinct slots; its gradient is a copy, not an addition."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(slot)
        ctx.slots = x.shape[0]
        return x.index_select(0, slot)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (slot,) = ctx.saved_tensors
        return grad.new_zeros(ctx.slots, grad.shape[1]).index_copy_(0, slot, grad), None
