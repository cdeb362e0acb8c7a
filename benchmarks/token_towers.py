"""What the protein and RNA benchmarks share: packed towers against `transformers.EsmModel`, padded and sorted."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import annotated_lengths
from benchmarks.side_by_side import Place, add_device_option, best_seconds, print_ratio
from model.config import RotaryConfig
from model.encoders import layout, rotary_encoder
from model.encoders.rotary_encoder import RotaryEncoder
from model.estimate import rotary_flops
from model.isoformer import TokenInput
from model.tokenizers import ESM_MASK, ESM_PAD

Sequences = list[np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Race:
    """One tower and its peer over the same sequences, `batch` at a time, in random order unless sorted; both modules
    are moved to `place`.
    """

    ours: RotaryEncoder
    theirs: nn.Module
    sequences: Sequences
    batch: int
    place: Place

    def __post_init__(self) -> None:
        for side in (self.ours, self.theirs):
            side.to(self.place.device, self.place.dtype)

    def run_ours(self) -> list[Tensor]:
        """Packed: states of each batch, (T, D)."""
        with torch.inference_mode():
            return [self._packed(part) for part in self._parts(self.sequences)]

    def run_theirs(self, *, by_length: bool) -> list[Tensor]:
        """Padded to the longest of each batch: states (N, L, D)."""
        ordered = sorted(self.sequences, key=len) if by_length else self.sequences
        with torch.inference_mode():
            return [self._padded(part) for part in self._parts(ordered)]

    def largest_difference(self) -> float:
        """Between states of the first batch."""
        part = self.sequences[: self.batch]
        ours, theirs = self._spread(part), self._padded(part)
        return max((ours[i, : len(x)] - theirs[i, : len(x)]).abs().max().item() for i, x in enumerate(part))

    def padding_share(self, *, by_length: bool) -> float:
        """Share of the peer's tokens that are padding."""
        ordered = sorted(self.sequences, key=len) if by_length else self.sequences
        padded = sum(len(part) * max(map(len, part)) for part in self._parts(ordered))
        return 1 - sum(map(len, self.sequences)) / padded

    def _parts(self, sequences: Sequences) -> list[Sequences]:
        return [sequences[start : start + self.batch] for start in range(0, len(sequences), self.batch)]

    def _input(self, part: Sequences) -> TokenInput:
        offsets = np.cumsum([0, *map(len, part)])
        return TokenInput.from_packed(np.concatenate(part), offsets, self.place.device)

    def _packed(self, part: Sequences) -> Tensor:
        packed = self._input(part)
        states: Tensor = self.ours(packed.tokens, packed.layout)
        return states

    def _spread(self, part: Sequences) -> Tensor:
        with torch.inference_mode():
            return self._input(part).layout.spread(self._packed(part))

    def _padded(self, part: Sequences) -> Tensor:
        longest = max(map(len, part))
        tokens = np.array([np.pad(item, (0, longest - len(item)), constant_values=ESM_PAD) for item in part])
        mask = np.arange(longest) < np.array([[len(item)] for item in part])
        with torch.inference_mode():
            on = (torch.from_numpy(array).to(self.place.device).long() for array in (tokens, mask))
            states: Tensor = self.theirs(next(on), attention_mask=next(on))[0]
        return states


def peer(config: RotaryConfig, *, inner: int) -> nn.Module:
    """`EsmModel` with random weights and the layers, width and heads of `config`."""
    from transformers import EsmConfig, EsmModel

    theirs: nn.Module = EsmModel(
        EsmConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=inner,
            position_embedding_type="rotary",
            token_dropout=config.token_dropout,
            layer_norm_eps=config.layer_norm_eps,
            mask_token_id=ESM_MASK,
            pad_token_id=ESM_PAD,
            max_position_embeddings=config.max_tokens + 2,
        ),
        add_pooling_layer=False,
    )
    return theirs.eval()


@contextmanager
def in_blocks() -> Iterator[None]:
    """Attention in blocks of like length, as on a CPU, where a GPU has a kernel for packed tokens."""
    with patch.object(rotary_encoder, "has_varlen_kernel", lambda _: False):
        yield


@contextmanager
def one_block_of_padding() -> Iterator[None]:
    """Attention padded to the batch's longest sequence, everything else packed."""
    with in_blocks(), patch.object(layout, "BLOCK_RATIO", 0.0):
        yield


def parse(text: str, sizes: tuple[str, ...]) -> argparse.Namespace:
    """Options of a token tower's benchmark."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    annotated_lengths.add_option(parser)
    add_device_option(parser)
    parser.add_argument("--size", choices=sizes, default=sizes[0])
    parser.add_argument("--transcripts", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=1)
    return parser.parse_args()


def report(race: Race, repeats: int, *, source: str, name: str, aim_on_gpu: float) -> None:
    """Print ours, theirs padded and sorted, ours without what it saves in attention, and the claims."""
    ways: dict[str, Callable[[], object]] = {
        "ours, packed, random batches": race.run_ours,
        "transformers, padded, random batches": lambda: race.run_theirs(by_length=False),
        "transformers, sorted by length": lambda: race.run_theirs(by_length=True),
        "ours, attention padded to the longest": one_block_of_padding()(race.run_ours),
    }
    if race.place.on_gpu:
        ways["ours, attention in blocks"] = in_blocks()(race.run_ours)
    seconds = best_seconds(ways, repeats, race.place.wait)
    lengths = np.array([len(item) for item in race.sequences])
    flops = rotary_flops(race.ours.config, lengths)
    print(f"{name}: {len(lengths)} sequences, {lengths.sum():,} tokens, {flops / 1e12:.2f} TFLOP; {source}")
    print(
        f"batches of {race.batch}; padding of the peer: {race.padding_share(by_length=False):.0%} in random batches, "
        f"{race.padding_share(by_length=True):.0%} sorted"
    )
    own = seconds["ours, packed, random batches"]
    for way, value in seconds.items():
        print(f"{way:40} {value:7.3f} s  {value / own:.2f} of ours  {flops / value / 1e9:6.0f} useful GFLOP/s")
    print_ratio(
        "against padded",
        seconds["transformers, padded, random batches"] / own,
        aim_on_gpu if race.place.on_gpu else 4.0,
    )
    print_ratio("against sorted by length", seconds["transformers, sorted by length"] / own, 1.3)
