"""Where tokens lie: one behind the other (packed), or in a padded rectangle for the ONNX graph.

N sequences, T tokens in all, L the longest length, D channels. Linear layers and norms run on flat tokens (T, D), so
that nothing is computed for padding; attention runs within blocks of sequences of like length. The padded layout has
T = N·L and one block, so that the same module code serves both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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

    @property
    def tokens(self) -> int:
        """Tokens in the block."""
        return self.sequences * self.length if self.stop is None else self.stop - self.start

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
    `slot`: as in `Block`, over all sequences in their given order; None in the padded layout. `order`: int64, the
    sequences with tokens in the order of the blocks, None in the padded layout. `counts`: the lengths, and `first` the
    index of each sequence's first token, int64 (N,) on the host, where the host knows them. `bounds`: int32, where the
    sequences with tokens begin and the last one ends, as variable-length attention reads them.
    """

    sequences: int
    length: int
    row: Tensor
    position: Tensor
    lengths: Tensor
    slot: Tensor | None
    blocks: tuple[Block, ...]
    counts: np.ndarray | None = None
    first: np.ndarray | None = None
    order: Tensor | None = None
    bounds: Tensor | None = None

    def per_block(self, x_TD: Tensor) -> list[Tensor]:
        """(T, D) → (sequences, length, D) of each block: one cut, whose gradient is one concatenation."""
        if len(self.blocks) == 1:
            return [self.blocks[0].spread(x_TD)]
        parts = x_TD.split([block.tokens for block in self.blocks])
        return [_spread(part, b.slot, b.sequences, b.length) for part, b in zip(parts, self.blocks, strict=True)]

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
        if self.order is None:
            return masked_mean(self.spread(x_TD), self.lengths)
        if not self.blocks:
            return place(x_TD, None, self.order, self.sequences)  # zeros that know where they come from
        lengths = self.lengths[self.order].split([block.sequences for block in self.blocks])
        means = [masked_mean(x_NLD, own) for x_NLD, own in zip(self.per_block(x_TD), lengths, strict=True)]
        return place(torch.cat(means), None, self.order, self.sequences)


def masked_mean(x_NLD: Tensor, lengths: Tensor) -> Tensor:
    """Mean over the first `lengths` places of each sequence, (N, L, D) → (N, D); zero where the length is 0."""
    return torch.bmm(mean_weights(lengths, x_NLD.shape[1], x_NLD)[:, None], x_NLD)[:, 0]


def mean_weights(lengths: Tensor, length: int, like: Tensor) -> Tensor:
    """1/length at the tokens of each sequence, 0 elsewhere: (N, L) in the precision of `like`."""
    mask = torch.arange(length, device=like.device) < lengths[:, None]
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
    first_packed = np.zeros_like(lengths)
    first_packed[order] = np.cumsum(sorted_lengths) - sorted_lengths
    layout = TokenLayout(
        sequences=len(lengths),
        length=longest,
        row=to_device(row, device),
        position=to_device(position, device),
        lengths=to_device(lengths, device),
        slot=to_device(row * longest + position, device),
        blocks=tuple(_blocks(sorted_lengths, device)),
        counts=lengths,
        first=first_packed,
        order=to_device(order, device),
        bounds=to_device(np.append(0, np.cumsum(sorted_lengths)).astype(np.int32), device),
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
                slot=None if full else to_device(np.flatnonzero(mask), device),
                key_mask=None if full else to_device(mask, device)[:, None, None],
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


def full_layout(sequences: int, length: int, device: torch.device, *, counted: bool) -> TokenLayout:
    """Layout of a rectangle without padding: every sequence has `length` tokens; `counted`: the host may know it."""
    layout = padded_layout(sequences, length, torch.full((sequences,), length, dtype=torch.int64, device=device))
    return with_counts(layout, np.full(sequences, length)) if counted else layout


def with_counts(layout: TokenLayout, counts: np.ndarray) -> TokenLayout:
    """A padded layout whose lengths (N,) the host knows too."""
    return replace(layout, counts=counts.astype(np.int64), first=np.arange(layout.sequences) * layout.length)


def place(x: Tensor, source: Tensor | None, target: Tensor | None, rows: int) -> Tensor:
    """Rows `source` of x (all, if None) at rows `target` (in order, if None) of a result with `rows` rows, else zero.

    Both indices int64 with distinct entries: the gradient is then a copy, not an addition, which is slow on a CPU.
    """
    placed: Tensor = _Place.apply(x, source, target, rows)
    return placed


class _Place(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, source: Tensor | None, target: Tensor | None, rows: int) -> Tensor:
        ctx.save_for_backward(source, target)
        ctx.rows = x.shape[0]
        return _copy_rows(x, source, target, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        source, target = ctx.saved_tensors
        return _copy_rows(grad, target, source, ctx.rows), None, None, None


def _copy_rows(x: Tensor, source: Tensor | None, target: Tensor | None, rows: int) -> Tensor:
    taken = x if source is None else x.index_select(0, source)
    return taken if target is None else x.new_zeros(rows, *x.shape[1:]).index_copy_(0, target, taken)


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy to a device; to a GPU from pinned memory, so that the host does not wait."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _spread(x_TD: Tensor, slot: Tensor | None, sequences: int, length: int) -> Tensor:
    x_SD = x_TD if slot is None else place(x_TD, None, slot, sequences * length)
    return x_SD.reshape(sequences, length, x_TD.shape[-1])


def _collect(x_NLD: Tensor, slot: Tensor | None) -> Tensor:
    flat = x_NLD.reshape(-1, x_NLD.shape[-1])
    return flat if slot is None else place(flat, slot, None, 0)
