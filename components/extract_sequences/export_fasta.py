"""Transcripts as FASTA, for people and other tools to look at."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from components.artifacts import open_artifact
from model.errors import InputError

_LINE = 70
_ROWS_AT_ONCE = 4096
# File, and how its sequence is told from a row; None leaves the row out.
_KINDS = ("rna", "cds", "protein")


def export_fasta(transcripts: Path, out: Path) -> dict[str, int]:
    """Write rna.fa, cds.fa and protein.fa of a transcripts artifact into the folder `out`; returns records by file.

    The CDS is from its first whole codon to before the stop codon. A file is there whole or not at all; one that is
    there already raises `InputError`.
    """
    import pyarrow.parquet as pq

    artifact = open_artifact(transcripts, "transcripts")
    columns = [
        *("transcript_id", "gene_id", "contig", "strand", "exon_starts", "exon_ends", "rna", "cds_start", "cds_end"),
        *("cds_phase", "protein", "split"),
    ]
    table = pq.ParquetFile(artifact.payload / "transcripts.parquet")
    batches = table.iter_batches(_ROWS_AT_ONCE, columns=columns)
    return write_fasta(out, (row for batch in batches for row in batch.to_pylist()))


def write_fasta(out: Path, rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Write rna.fa, cds.fa and protein.fa of rows with the columns of transcripts.parquet; returns records by file."""
    names = [f"{kind}.fa" for kind in _KINDS]
    for name in names:
        if (out / name).exists():
            raise InputError(
                where=str(out / name), expected="no such file", found="one", fix="Choose another --out or delete it."
            )
    out.mkdir(parents=True, exist_ok=True)
    partial = [out / f".{name}.partial.{os.getpid()}" for name in names]
    counts = dict.fromkeys(names, 0)
    try:
        with partial[0].open("w") as rna, partial[1].open("w") as cds, partial[2].open("w") as protein:
            for row in rows:
                header = _header(row)
                for handle, name, sequence in zip((rna, cds, protein), names, _sequences(row), strict=True):
                    if sequence:
                        handle.write(f">{header}\n{wrapped(sequence)}\n")
                        counts[name] += 1
        for path, name in zip(partial, names, strict=True):
            path.rename(out / name)
    finally:
        for path in partial:
            path.unlink(missing_ok=True)
    return counts


def wrapped(sequence: str) -> str:
    """Lines of 70 letters."""
    return "\n".join([sequence[start : start + _LINE] for start in range(0, len(sequence), _LINE)])


def _sequences(row: Mapping[str, Any]) -> Iterator[str]:
    yield row["rna"]
    yield row["rna"][row["cds_start"] + row["cds_phase"] : row["cds_end"]] if row["cds_start"] >= 0 else ""
    yield row["protein"] or ""


def _header(row: Mapping[str, Any]) -> str:
    """Identifier, gene, place with 1-based inclusive exons, CDS in the RNA likewise, split."""
    exons = ",".join(f"{start + 1}-{end}" for start, end in zip(row["exon_starts"], row["exon_ends"], strict=True))
    cds = f" CDS={row['cds_start'] + 1}-{row['cds_end']}" if row["cds_start"] >= 0 else ""
    place = f"{row['contig']}:{exons}({row['strand']})"
    return f"{row['transcript_id']} gene={row['gene_id']} loc={place}{cds} split={row['split']}"
