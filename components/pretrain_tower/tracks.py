"""Supervised track regression of the Enformer (Avsec et al. 2021): the objective, from windows to a loss.

W windows, B base pairs, P positions, K tracks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from components.pretrain_tower.track_files import read_track
from components.sections import PretrainParams
from components.sequences import Genome, reverse_complement
from model.config import EnformerConfig
from model.encoders.enformer import Enformer
from model.errors import InputError

_TRACK_FLOOR = 1e-6


class TrackModel(nn.Module):
    """An Enformer with one linear head and softplus, a track per output."""

    def __init__(self, config: EnformerConfig, window_bp: int, tracks: int) -> None:
        super().__init__()
        self.encoder = Enformer(config, window_bp)
        self.head = nn.Linear(config.output_channels, tracks)

    def forward(self, windows_WB: Tensor) -> Tensor:
        """Codes uint8 (W, B) → expected values (W, P, K)."""
        return F.softplus(self.head(self.encoder(windows_WB))) + _TRACK_FLOOR


class TrackObjective:
    """Regress `tracks` by Poisson loss in windows that tile the genome; a random half of them read the other strand."""

    unit = "windows"

    def __init__(
        self,
        config: EnformerConfig,
        window_bp: int,
        genome: Genome,
        tracks: Sequence[Mapping[str, np.ndarray]],
        recipe: PretrainParams,
    ) -> None:
        self.config, self.window_bp, self.genome, self.recipe = config, window_bp, genome, recipe
        self.bin_bp = config.bp_per_position
        self.places = [
            (contig, start)
            for contig in genome.contigs
            for start in range(0, genome.length(contig) - window_bp + 1, window_bp)
        ]
        if len(self.places) < 2:
            raise InputError(
                where="genome",
                expected=f"contigs of at least {window_bp:,} bp, one window",
                found=f"{len(self.places)} windows",
                fix="Give a longer genome, or set extract.window_bp lower.",
            )
        self.values = {name: np.stack([track[name] for track in tracks], axis=1) for name in genome.contigs}
        # Poisson losses of tracks of any scale become alike.
        everything = np.concatenate(list(self.values.values()))
        self.scale = np.maximum(everything.mean(axis=0), _TRACK_FLOOR).astype(np.float32)
        self.module = TrackModel(config, window_bp, len(tracks))

    @property
    def encoder(self) -> nn.Module:
        """What is kept after pre-training."""
        return self.module.encoder

    def __len__(self) -> int:
        return len(self.places)

    def loss(self, rows: np.ndarray, step: int, device: torch.device) -> Tensor:
        """Mean Poisson loss over windows, positions and tracks."""
        flipped = np.random.default_rng([self.recipe.seed, step]).random(len(rows)) < 0.5
        predicted, target = self._forward(rows, flipped, device)
        return F.poisson_nll_loss(predicted, target, log_input=False)

    def sums(self, rows: np.ndarray, device: torch.device) -> np.ndarray:
        """Sums over validation `rows` from which the mean loss and the correlation follow: (7,)."""
        predicted, target = (
            item.double().flatten() for item in self._forward(rows, np.zeros(len(rows), dtype=bool), device)
        )
        loss = F.poisson_nll_loss(predicted, target, log_input=False, reduction="sum")
        figures = (
            loss,
            predicted.sum(),
            target.sum(),
            (predicted**2).sum(),
            (target**2).sum(),
            (predicted * target).sum(),
        )
        return np.array([*(float(figure) for figure in figures), predicted.numel()])

    @staticmethod
    def figures(sums: np.ndarray) -> dict[str, float]:
        """Validation figures of summed `sums`: mean Poisson loss, and correlation over all values."""
        loss, x, y, xx, yy, xy, count = sums
        spread = math.sqrt(max(xx - x * x / count, 0.0) * max(yy - y * y / count, 0.0))
        return {"loss": loss / count, "correlation": (xy - x * y / count) / spread if spread else 0.0}

    def _forward(self, rows: np.ndarray, flipped: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
        pairs = [self._example(row, flip) for row, flip in zip(rows.tolist(), flipped.tolist(), strict=True)]
        windows, targets = (torch.from_numpy(np.stack(items)).to(device) for items in zip(*pairs, strict=True))
        return self.module(windows), targets

    def _example(self, row: int, flipped: bool) -> tuple[np.ndarray, np.ndarray]:
        contig, start = self.places[row]
        codes = self.genome.window(contig, start, start + self.window_bp, "+")
        crop = self.config.crop_positions
        bins = slice(start // self.bin_bp + crop, (start + self.window_bp) // self.bin_bp - crop)
        values = self.values[contig][bins] / self.scale
        return (reverse_complement(codes), values[::-1].copy()) if flipped else (codes, values)


def read_tracks(paths: Sequence[Path], genome: Genome, bin_bp: int) -> list[dict[str, np.ndarray]]:
    """All tracks of a genome in bins of `bin_bp`."""
    lengths = {contig: genome.length(contig) for contig in genome.contigs}
    return [read_track(path, lengths, bin_bp) for path in paths]
