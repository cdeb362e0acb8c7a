"""The transcripts of one split, with their sequences, labels and genes, as the evaluation reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.sequences import window_interval
from model.errors import InputError

if TYPE_CHECKING:
    from components.sequences import Genome

COLUMNS = (
    *("transcript_id", "gene_id", "contig", "strand", "window_start", "window_end", "exon_starts", "rna"),
    *("cds_start", "cds_end", "protein", "labels", "gene_type"),
)


@dataclass(frozen=True)
class Examples:
    """N transcripts.

    `labels`: float32 (N, T), log1p of the tissue's mean TPM. `cds_start`, `cds_end`: int64 (N,), half-open offsets in
    the RNA, −1 where there is none. `exons`: int64 (N,), their number. Protein is "" where there is none.
    """

    transcript_ids: list[str]
    gene_ids: list[str]
    gene_types: list[str]
    contigs: list[str]
    strands: list[str]
    window_start: np.ndarray
    window_end: np.ndarray
    exons: np.ndarray
    rna: list[str]
    cds_start: np.ndarray
    cds_end: np.ndarray
    protein: list[str]
    labels: np.ndarray
    genome: Genome

    @classmethod
    def read(cls, payload: Path, split: str) -> Examples:
        """Read one split of a transcripts artifact; an empty split raises `InputError`."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        from components.sequences import Genome

        table = pq.read_table(
            payload / "transcripts.parquet", columns=list(COLUMNS), filters=[("split", "==", split)]
        ).combine_chunks()
        if not table.num_rows:
            raise InputError(
                where=str(payload),
                expected=f"transcripts in split {split!r}",
                found="none",
                fix="Give more genes, or change the split in the extract section of params.yaml.",
            )
        labels = table["labels"].combine_chunks()
        return cls(
            transcript_ids=table["transcript_id"].to_pylist(),
            gene_ids=table["gene_id"].to_pylist(),
            gene_types=table["gene_type"].to_pylist(),
            contigs=table["contig"].to_pylist(),
            strands=table["strand"].to_pylist(),
            window_start=table["window_start"].to_numpy(),
            window_end=table["window_end"].to_numpy(),
            exons=pc.list_value_length(table["exon_starts"]).to_numpy().astype(np.int64),
            rna=table["rna"].to_pylist(),
            cds_start=table["cds_start"].to_numpy().astype(np.int64),
            cds_end=table["cds_end"].to_numpy().astype(np.int64),
            protein=[protein or "" for protein in table["protein"].to_pylist()],
            labels=labels.flatten().to_numpy(zero_copy_only=False).reshape(len(labels), -1).astype(np.float32),
            genome=Genome.open(payload / "genome.safetensors"),
        )

    def __len__(self) -> int:
        return len(self.transcript_ids)

    def window(self, row: int, *, central_bp: int | None = None, window_bp: int | None = None) -> np.ndarray:
        """DNA window of a transcript, or its `central_bp` around the TSS: uint8 codes in transcript orientation.

        `window_bp`: a window of another length than the dataset's, around the same TSS.
        """
        start, end, strand = int(self.window_start[row]), int(self.window_end[row]), self.strands[row]
        if window_bp is not None and window_bp != end - start:
            before = (end - start) // 2
            tss = start + before if strand == "+" else end - 1 - before
            start, end = window_interval(tss, strand, window_bp)
        codes = self.genome.window(self.contigs[row], start, end, strand)
        if central_bp is None or central_bp >= len(codes):
            return codes
        start = (len(codes) - central_bp) // 2
        return codes[start : start + central_bp]

    def select(self, rows: np.ndarray) -> Examples:
        """The examples of some rows, int64 (K,), in that order."""
        lists: dict[str, Any] = {
            name: [getattr(self, name)[row] for row in rows.tolist()]
            for name in ("transcript_ids", "gene_ids", "gene_types", "contigs", "strands", "rna", "protein")
        }
        arrays: dict[str, Any] = {
            name: getattr(self, name)[rows]
            for name in ("window_start", "window_end", "exons", "cds_start", "cds_end", "labels")
        }
        return dataclasses.replace(self, **lists, **arrays)

    def chunks(self, rows: int) -> Iterator[range]:
        """All row numbers, in ranges of at most `rows`."""
        for start in range(0, len(self), rows):
            yield range(start, min(start + rows, len(self)))
