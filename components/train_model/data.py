"""Training data: transcripts and labels from Parquet, DNA windows cut from the genome when a batch needs them."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.calibration_genes import calibration_genes
from components.sequences import Genome
from components.train_model.sampler import Sizes
from model.batch import PackedBatch, TokenizedTranscript, TranscriptInput, pack, tokenize
from model.config import EnformerConfig, IsoFormerConfig
from model.errors import InputError
from model.estimate import rotary_flops, window_flops
from model.tokenizers import ESM_CLS, ESM_EOS, ESM_MASK, SIXMER_CLS, SIXMER_MASK

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A packed batch with its labels: float32 (B, tissues), standardised as the model is trained."""

    inputs: PackedBatch
    labels: np.ndarray


class TranscriptData:
    """N transcripts of one split, tokenised once; windows stay coordinates until asked for.

    `labels`: float32 (N, tissues), log1p of the tissue's mean TPM. `window_key`: int64 (N,), equal for transcripts that
    share a DNA window (contig, strand and start). `tss_cluster_bp` > 0 gives start sites of one strand that lie this
    close to the first of them its window: inexact, fewer windows to encode.
    """

    def __init__(
        self,
        payload: Path,
        config: IsoFormerConfig,
        split: str,
        *,
        tss_cluster_bp: int = 0,
        calibration_share: float = 0.0,
    ) -> None:
        """Read a split, without the `calibration_share` of its genes that calibrate intervals."""
        import pyarrow.parquet as pq

        columns = [
            "gene_id",
            "contig",
            "strand",
            "window_start",
            "window_end",
            "rna",
            "protein",
            "labels",
            "transcript_id",
        ]
        table = pq.read_table(payload / "transcripts.parquet", columns=columns, filters=[("split", "==", split)])
        if not table.num_rows:
            raise InputError(
                where=str(payload),
                expected=f"transcripts in split {split!r}",
                found="none",
                fix="Change extract.split.",
            )
        genes = table["gene_id"].to_pylist()
        calibrating = calibration_genes(genes, calibration_share)
        if calibrating:
            table = table.filter([gene not in calibrating for gene in genes])
        self.config = config
        self.genome = Genome.open(payload / "genome.safetensors")
        self.transcript_ids: list[str] = table["transcript_id"].to_pylist()
        self.contig: list[str] = table["contig"].to_pylist()
        self.strand: list[str] = table["strand"].to_pylist()
        self.window_start = table["window_start"].to_numpy()
        self.window_end = table["window_end"].to_numpy()
        labels = table["labels"].combine_chunks()
        self.labels = labels.flatten().to_numpy(zero_copy_only=False).reshape(len(labels), -1).astype(np.float32)
        self._check_window_bp(payload)
        self.tokens = [
            tokenize_sequences(rna, protein, config)
            for rna, protein in zip(table["rna"].to_pylist(), table["protein"].to_pylist(), strict=True)
        ]
        if tss_cluster_bp:
            start = clustered_starts(self.contig, self.strand, self.window_start, tss_cluster_bp)
            self.window_start, self.window_end = start, self.window_end + (start - self.window_start)
        places = list(zip(self.contig, self.strand, self.window_start.tolist(), strict=True))
        index = {place: number for number, place in enumerate(dict.fromkeys(places))}
        self.window_key = np.array([index[place] for place in places], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.transcript_ids)

    @functools.cached_property
    def sizes(self) -> Sizes:
        """What each transcript asks of a device."""
        counts = [[0 if x is None else len(x) for x in (item.rna, item.protein)] for item in self.tokens]
        rna, protein = np.array(counts, dtype=np.int64).reshape(-1, 2).T
        window_cost, row_cost = work_of(self.config, rna, protein)
        return Sizes(window_key=self.window_key, rna=rna, protein=protein, window_cost=window_cost, row_cost=row_cost)

    def batch(self, rows: np.ndarray, labels: np.ndarray, *, mask: tuple[float, int, int] | None = None) -> Batch:
        """Pack the transcripts `rows`; `labels` are theirs, standardised, (N, tissues).

        `mask` = (rate, seed, epoch) hides that share of tokens, the same tokens whatever the batch or the rank.
        """
        return Batch(
            inputs=pack([self._transcript(row, mask) for row in rows.tolist()], self.config), labels=labels[rows]
        )

    def _transcript(self, row: int, mask: tuple[float, int, int] | None) -> TokenizedTranscript:
        tokens = self.tokens[row]
        rna, protein = tokens.rna, tokens.protein
        if mask is not None:
            rate, seed, epoch = mask
            rng = np.random.default_rng([seed, epoch, row])
            rna = _masked(rna, rate, rng, (SIXMER_CLS,), SIXMER_MASK)
            protein = _masked(protein, rate, rng, (ESM_CLS, ESM_EOS), ESM_MASK)
        return TokenizedTranscript(
            dna=self.window(row) if self.config.dna is not None else None, rna=rna, protein=protein
        )

    def window(self, row: int) -> np.ndarray:
        """The DNA window of a transcript: uint8 codes (window_bp,) in transcript orientation, N past contig ends."""
        return self.genome.window(
            self.contig[row], int(self.window_start[row]), int(self.window_end[row]), self.strand[row]
        )

    def _check_window_bp(self, payload: Path) -> None:
        found = int(self.window_end[0] - self.window_start[0])
        if self.config.dna is not None and found != self.config.window_bp:
            raise InputError(
                where=str(payload),
                expected=f"DNA windows of {self.config.window_bp} bp, as the model reads",
                found=f"{found} bp",
                fix="Set extract.window_bp to the model's window_bp and extract again.",
            )


def clustered_starts(contig: Sequence[str], strand: Sequence[str], start: np.ndarray, within_bp: int) -> np.ndarray:
    """Window starts int64 (N,), each replaced by the first of its cluster: at most `within_bp` on, on one strand."""
    place = np.array([f"{name}{sign}" for name, sign in zip(contig, strand, strict=True)])
    clustered = np.array(start, dtype=np.int64)
    leader: tuple[str, int] | None = None
    for row in np.lexsort((start, place)).tolist():
        if leader is None or place[row] != leader[0] or start[row] - leader[1] > within_bp:
            leader = (place[row], int(start[row]))
        clustered[row] = leader[1]
    return clustered


def work_of(config: IsoFormerConfig, rna: np.ndarray, protein: np.ndarray) -> tuple[float, np.ndarray]:
    """Operations of the encoders for one DNA window, and float64 (N,) for each transcript's tokens."""
    row_cost = np.zeros(len(rna))
    for encoder, lengths in ((config.rna, rna), (config.protein, protein)):
        if encoder is not None:
            one, two = (rotary_flops(encoder, np.array([length])) for length in (1, 2))
            square = (two - 2 * one) / 2  # operations are linear and quadratic in the length
            row_cost += (one - square) * lengths + square * np.square(lengths, dtype=np.float64)
    if isinstance(config.dna, EnformerConfig):
        return window_flops(config.dna, config.window_bp), row_cost
    tokens = np.array([config.window_bp // 6 + 1])
    return (rotary_flops(config.dna, tokens) if config.dna is not None else 0.0), row_cost


def tokenize_sequences(rna: str, protein: str | None, config: IsoFormerConfig) -> TokenizedTranscript:
    """RNA and protein tokens of a transcript that the model has encoders for; neither is needed when there is DNA."""
    if not (rna and config.rna) and not (protein and config.protein):
        return TokenizedTranscript()
    return tokenize(TranscriptInput(rna=rna, protein=protein), config)


def _masked(
    tokens: np.ndarray | None, rate: float, rng: np.random.Generator, special: tuple[int, ...], mask_id: int
) -> np.ndarray | None:
    if tokens is None:
        return None
    hidden = (rng.random(len(tokens)) < rate) & ~np.isin(tokens, special)
    return np.where(hidden, np.int32(mask_id), tokens)


def read_dataset_facts(payload: Path) -> dict[str, Any]:
    """The dataset's own description: tissues, label statistics, counts, version."""
    return dict(json.loads((payload / "dataset.json").read_text(encoding="utf-8")))
