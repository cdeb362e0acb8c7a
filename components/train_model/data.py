"""Training data: transcripts and labels from Parquet, DNA windows cut from the genome when a batch needs them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.calibration_genes import calibration_genes
from components.sequences import Genome
from model.batch import PackedBatch, TokenizedTranscript, TranscriptInput, pack, tokenize
from model.config import IsoFormerConfig
from model.errors import InputError
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
    share a DNA window (contig, strand and start).
    """

    def __init__(self, payload: Path, config: IsoFormerConfig, split: str, *, calibration_share: float = 0.0) -> None:
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
        places = list(zip(self.contig, self.strand, self.window_start.tolist(), strict=True))
        index = {place: number for number, place in enumerate(dict.fromkeys(places))}
        self.window_key = np.array([index[place] for place in places], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.transcript_ids)

    @property
    def token_counts(self) -> np.ndarray:
        """RNA and protein tokens per transcript, int64 (N,)."""
        return np.array([sum(len(x) for x in (item.rna, item.protein) if x is not None) for item in self.tokens])

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
