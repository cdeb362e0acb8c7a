"""Outputs of frozen towers on disk: computed once per distinct sequence, reused across epochs and experiments.

One safetensors file per sequence below a folder named by the tower's weights and configuration, so that nothing else
can be taken for it::

    FOLDER/<digest of weights and configuration>/<first two digits>/<digest of the sequence>.safetensors
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from components.progress import track
from components.train_model.data import TranscriptData
from components.train_model.towers import always_frozen
from components.train_sections import RuntimeParams, TrainParams
from model.batch import PackedBatch
from model.encoders.enformer import Enformer
from model.encoders.layout import packed_layout
from model.errors import InputError
from model.isoformer import IsoFormer, TokenInput

# Of the disk, left free whatever is asked for.
RESERVED_SHARE = 0.05
CHUNK_ROWS = 256


class TowerCache:
    """The cached outputs of one frozen tower; `offered` is what the next forward pass of the tower returns."""

    def __init__(self, model: IsoFormer, name: str, folder: Path, dtype: torch.dtype) -> None:
        self.name, self.dtype = name, dtype
        self.encoder = model.encoders[name]
        self.width = int(getattr(model.config, name).output_width)
        description = {"tower": model.config.to_dict()[name], "window_bp": model.config.window_bp, "dtype": str(dtype)}
        self.folder = folder / weights_digest(self.encoder, description)
        self.offered: torch.Tensor | None = None

    def install(self) -> None:
        """From now on the tower answers with what was offered."""
        self.encoder.forward = self._answer

    def fill(
        self, datasets: list[TranscriptData], *, rank: int, ranks: int, device: torch.device, stop: Callable[[], bool]
    ) -> None:
        """Compute what is missing, a share of it on each rank, until `stop` says so.

        Raises `InputError` where the disk is too small.
        """
        missing = self._missing(datasets)
        self._check_space(missing)
        own = {digest for digest in missing if int(digest[:8], 16) % ranks == rank}
        self.encoder.to(device).eval()
        with torch.no_grad(), track(len(own), f"frozen {self.name} tower", "sequences") as advance:
            for digest, sequence in self._all_sequences(datasets) if own else ():
                if stop():
                    return
                if digest in own:
                    self._write(digest, self._compute(sequence, device))
                    own.remove(digest)
                    advance(1)

    def read(self, batch: PackedBatch) -> torch.Tensor:
        """The tower's output for a batch: (W, Q, D) of DNA windows, or (T, D) in the order of the packed layout."""
        states = [self._load(sequence_digest(sequence)) for sequence in self._sequences(batch)]
        if isinstance(self.encoder, Enformer):
            return torch.stack(states) if states else torch.empty(0, self.encoder.output_positions, self.width)
        lengths = np.diff(getattr(batch, f"{self.name}_offsets"))
        _, order = packed_layout(lengths, torch.device("cpu"))
        whole = torch.cat(states) if states else torch.empty(0, self.width)
        return whole[torch.from_numpy(order)]

    def _answer(self, *_: Any) -> torch.Tensor:
        assert self.offered is not None
        offered, self.offered = self.offered, None
        return offered

    def _sequences(self, batch: PackedBatch) -> Iterator[np.ndarray]:
        """What the tower reads, one array per distinct window or per transcript that has tokens."""
        if isinstance(self.encoder, Enformer):
            yield from batch.windows
            return
        tokens, offsets = getattr(batch, f"{self.name}_tokens"), getattr(batch, f"{self.name}_offsets")
        for start, stop in itertools.pairwise(offsets):
            if stop > start:
                yield tokens[start:stop]

    def _all_sequences(self, datasets: list[TranscriptData]) -> Iterator[tuple[str, np.ndarray]]:
        """What the tower reads in these data, and its digest, a chunk in memory at a time; some may come again."""
        for data in datasets:
            rows = np.arange(len(data))
            if isinstance(self.encoder, Enformer):
                rows = np.sort(np.unique(data.window_key, return_index=True)[1])
            for start in range(0, len(rows), CHUNK_ROWS):
                for sequence in self._sequences(data.batch(rows[start : start + CHUNK_ROWS], data.labels).inputs):
                    yield sequence_digest(sequence), sequence

    def _missing(self, datasets: list[TranscriptData]) -> dict[str, int]:
        """Positions of the sequences that are not on disk yet, by digest: windows of a genome do not fit in memory."""
        missing: dict[str, int] = {}
        for digest, sequence in self._all_sequences(datasets):
            if digest not in missing and not self._path(digest).is_file():
                missing[digest] = self._positions(sequence)
        return missing

    def _check_space(self, missing: dict[str, int]) -> None:
        needed = sum(missing.values()) * self.width * self.dtype.itemsize
        self.folder.mkdir(parents=True, exist_ok=True)
        disk = shutil.disk_usage(self.folder)
        free = disk.free - RESERVED_SHARE * disk.total
        if needed > free:
            raise InputError(
                where=str(self.folder),
                expected=f"{needed / 1e9:,.1f} GB for the {self.name} tower's outputs of {len(missing):,} sequences",
                found=f"{max(free, 0) / 1e9:,.1f} GB that may be used ({RESERVED_SHARE:.0%} of the disk stays free)",
                fix="Name a larger disk with runtime.tower_cache, or set train.cache_frozen_towers to false.",
            )

    def _positions(self, sequence: np.ndarray) -> int:
        return self.encoder.output_positions if isinstance(self.encoder, Enformer) else len(sequence)

    def _compute(self, sequence: np.ndarray, device: torch.device) -> torch.Tensor:
        # One at a time: the result must not depend on what else was missing.
        if isinstance(self.encoder, Enformer):
            out = self.encoder(torch.from_numpy(sequence)[None].to(device))[0]
        else:
            tokens = TokenInput.from_packed(sequence, np.array([0, len(sequence)]), device)
            out = self.encoder(tokens.tokens, tokens.layout)
        return out.to("cpu", self.dtype).contiguous()

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def _write(self, digest: str, states: torch.Tensor) -> None:
        path = self._path(digest)
        path.parent.mkdir(exist_ok=True)
        staging = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            save_file({"states": states}, staging)
            staging.rename(path)
        finally:
            staging.unlink(missing_ok=True)

    def _load(self, digest: str) -> torch.Tensor:
        path = self._path(digest)
        try:
            return load_file(path)["states"]
        except (OSError, SafetensorError, KeyError) as error:
            raise InputError(
                where=str(path),
                expected="a cached output of a frozen tower",
                found=str(error),
                fix="Delete the file and run again: it is computed anew.",
            ) from None


def weights_digest(module: torch.nn.Module, description: dict[str, Any]) -> str:
    """sha256 over a module's tensors and what else decides its output, 32 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def sequence_digest(sequence: np.ndarray) -> str:
    """sha256 of a sequence's codes or tokens, 32 hexadecimal digits."""
    return hashlib.sha256(sequence.tobytes()).hexdigest()[:32]


def fill_caches(
    model: IsoFormer,
    recipe: TrainParams,
    runtime: RuntimeParams,
    work: Path,
    datasets: list[TranscriptData],
    rank: int,
    ranks: int,
    device: torch.device,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, TowerCache]:
    """The caches of all encoders that are never trained, filled by all ranks; empty where the recipe wants none.

    Once `stop` says so nothing more is computed: what is there is used by the next start.
    """
    if not recipe.cache_frozen_towers:
        return {}
    names = [name for name in always_frozen(recipe) if name in model.encoders]
    if not names or (recipe.token_mask_rate and set(names) - {"dna"}):
        raise InputError(
            where="train.cache_frozen_towers",
            expected="a tower with trainable: none, and no token_mask_rate, which makes new sequences each epoch",
            found=f"frozen towers: {', '.join(names) or 'none'}; token_mask_rate {recipe.token_mask_rate}",
            fix="Freeze a tower, set train.token_mask_rate to 0, or set train.cache_frozen_towers to false.",
        )
    folder = Path(runtime.tower_cache).absolute() if runtime.tower_cache else work / "tower_cache"
    dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    caches = {name: TowerCache(model, name, folder, dtype) for name in names}
    for cache in caches.values():
        cache.fill(datasets, rank=rank, ranks=ranks, device=device, stop=stop)
    if ranks > 1:
        torch.distributed.barrier()
    return caches
