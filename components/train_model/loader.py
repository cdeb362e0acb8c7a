"""From planned micro-batches to tensors on the device, made beside the computation of the step before."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch

from components.train_model.data import TranscriptData
from components.train_model.tower_cache import TowerCache
from model.batch import PackedBatch
from model.config import MODALITIES, RotaryConfig
from model.encoders.layout import TokenLayout
from model.estimate import TRAINING_FACTOR, Workload, forward_flops
from model.isoformer import TorchBatch


@dataclass
class Counts:
    """What was computed: transcripts, DNA windows encoded, tokens, places of attention, operations of a training step.

    `attention_places` exceed `tokens` by the padding within blocks of like length; linear layers see tokens alone.
    `padding_flops` are what attention computes for it, beside `flops`.
    """

    transcripts: int = 0
    windows: int = 0
    tokens: int = 0
    attention_places: int = 0
    flops: float = 0.0
    padding_flops: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def attention_padding(self) -> float:
        """Padded share of the places that attention computes."""
        return 1 - self.tokens / self.attention_places if self.attention_places else 0.0

    @property
    def padding(self) -> float:
        """Share of all operations that are computed for padding."""
        return self.padding_flops / (self.flops + self.padding_flops) if self.flops else 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class MicroBatch:
    """What one forward pass computes; `states` are the outputs of frozen towers that a cache held."""

    rows: np.ndarray
    inputs: TorchBatch
    labels: torch.Tensor
    counts: Counts
    states: Mapping[str, torch.Tensor]


@dataclass(kw_only=True)
class Loader:
    """Makes the micro-batches of a rank; `labels` are standardised, float32 (N, tissues)."""

    data: TranscriptData
    labels: np.ndarray
    device: torch.device
    dtype: torch.dtype
    caches: Mapping[str, TowerCache] = field(default_factory=dict)
    # Forward passes that a training step of a tower is worth: 0 where a cache answers, 1 where it is frozen.
    passes: Mapping[str, int] = field(default_factory=dict)
    stalled_s: float = 0.0

    def __post_init__(self) -> None:
        # Copies on a stream of their own do not wait for the computation, nor it for them.
        self._stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None

    def steps(
        self, plans: Iterable[Sequence[np.ndarray]], mask: tuple[float, int, int] | None = None
    ) -> Iterator[list[MicroBatch]]:
        """The micro-batches of each planned step, the next step's made while the last one's are computed."""
        with ThreadPoolExecutor(1) as pool:
            pending: Future[list[MicroBatch]] | None = None
            for plan in plans:
                following = pool.submit(self._make_step, plan, mask)
                if pending is not None:
                    yield self._ready(pending)
                pending = following
            if pending is not None:
                yield self._ready(pending)

    def make(self, rows: np.ndarray, mask: tuple[float, int, int] | None = None) -> MicroBatch:
        """One micro-batch of the given rows."""
        batch = self.data.batch(rows, self.labels, mask=mask)
        states = {name: cache.read(batch.inputs) for name, cache in self.caches.items()}
        with torch.cuda.stream(self._stream) if self._stream else nullcontext():
            inputs = TorchBatch.from_packed(batch.inputs, self.device)
            return MicroBatch(
                rows=rows,
                inputs=inputs,
                labels=torch.from_numpy(batch.labels).to(self.device, self.dtype),
                counts=self._count(batch.inputs, inputs),
                states={name: value.to(self.device, self.dtype) for name, value in states.items()},
            )

    def _make_step(self, plan: Sequence[np.ndarray], mask: tuple[float, int, int] | None) -> list[MicroBatch]:
        made = [self.make(rows, mask) for rows in plan]
        if self._stream is not None:
            self._stream.synchronize()
        return made

    def _ready(self, pending: Future[list[MicroBatch]]) -> list[MicroBatch]:
        started = time.monotonic()
        ready = pending.result()
        self.stalled_s += time.monotonic() - started
        return ready

    def _count(self, packed: PackedBatch, inputs: TorchBatch) -> Counts:
        towers = {name: item.layout for name in MODALITIES if (item := getattr(inputs, name)) is not None}
        layouts = list(towers.values())
        flops = vars(forward_flops(self.data.config, Workload.of(packed, self.data.config)))
        return Counts(
            transcripts=packed.size,
            windows=int(packed.window_of_transcript.max(initial=-1)) + 1,
            tokens=sum(len(layout.row) for layout in layouts),
            attention_places=sum(block.sequences * block.length for layout in layouts for block in layout.blocks),
            flops=sum(value * self.passes.get(part, TRAINING_FACTOR) for part, value in flops.items()),
            padding_flops=sum(self._padding_flops(name, layout) for name, layout in towers.items()),
        )

    def _padding_flops(self, tower: str, layout: TokenLayout) -> float:
        """Attention logits and mixtures of padded places in a rotary tower, two products of 2·L²·D each."""
        config = getattr(self.data.config, tower)
        if not isinstance(config, RotaryConfig):
            return 0.0
        computed = sum(block.sequences * float(block.length) ** 2 for block in layout.blocks)
        needed = float(layout.lengths.double().square().sum())
        passes = self.passes.get(tower, TRAINING_FACTOR)
        return 4 * config.width * config.layers * passes * (computed - needed)
