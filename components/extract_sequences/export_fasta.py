"""Transcripts as FASTA, for people and other tools to look at."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from components.artifacts import open_artifact
from model.errors import InputError

FILES = ("rna.fa", "cds.fa", "protein.fa")
_LINE = 70
_ROWS_AT_ONCE = 4096
# Most records are larger than Python's own buffer, and would be a system call each.
_BUFFER_BYTES = 1 << 20


class Record(NamedTuple):
    """What FASTA tells of a transcript; fields as the columns of transcripts.parquet, `split` empty where not known."""

    transcript_id: str
    gene_id: str
    contig: str
    strand: str
    exon_starts: list[int]
    exon_ends: list[int]
    rna: str
    cds_start: int
    cds_end: int
    cds_phase: int
    protein: str | None
    split: str = ""


def export_fasta(transcripts: Path, out: Path) -> dict[str, int]:
    """Write rna.fa, cds.fa and protein.fa of a transcripts artifact into the folder `out`; returns records by file.

    The CDS is from its first whole codon to before the stop codon. A file is there whole or not at all; one that is
    there already raises `InputError`.
    """
    import pyarrow.parquet as pq

    artifact = open_artifact(transcripts, "transcripts")
    table = pq.ParquetFile(artifact.payload / "transcripts.parquet")
    batches = table.iter_batches(_ROWS_AT_ONCE, columns=list(Record._fields))
    with fasta_files(out) as handles:
        return dict(write_records(handles, (row for batch in batches for row in _rows(batch))))


def _rows(batch: Any) -> Iterator[Record]:
    return map(Record, *(batch.column(name).to_pylist() for name in Record._fields))


@contextmanager
def fasta_files(out: Path) -> Iterator[Mapping[str, BinaryIO]]:
    """Handles by name for rna.fa, cds.fa and protein.fa in the folder `out`, which appear there at the end, or not."""
    for name in FILES:
        if (out / name).exists():
            raise InputError(
                where=str(out / name), expected="no such file", found="one", fix="Choose another --out or delete it."
            )
    out.mkdir(parents=True, exist_ok=True)
    partial = {name: out / f".{name}.partial.{os.getpid()}" for name in FILES}
    handles: dict[str, BinaryIO] = {}
    try:
        handles |= {name: path.open("w+b", buffering=_BUFFER_BYTES) for name, path in partial.items()}
        yield handles
        for name, path in partial.items():
            handles[name].close()
            path.rename(out / name)
    finally:
        for handle in handles.values():
            handle.close()
        for path in partial.values():
            path.unlink(missing_ok=True)


def write_records(handles: Mapping[str, BinaryIO], records: Iterable[Record]) -> Counter[str]:
    """Write the sequences that each record has; returns records by file."""
    counts = Counter(dict.fromkeys(FILES, 0))
    for record in records:
        header = _header(record)
        for name, sequence in zip(FILES, _sequences(record), strict=True):
            if sequence:
                handles[name].write(f">{header}\n{wrapped(sequence)}\n".encode())
                counts[name] += 1
    return counts


def wrapped(sequence: str) -> str:
    """Lines of 70 letters."""
    return "\n".join([sequence[start : start + _LINE] for start in range(0, len(sequence), _LINE)])


def _sequences(record: Record) -> tuple[str, str, str]:
    cds = record.rna[record.cds_start + record.cds_phase : record.cds_end] if record.cds_start >= 0 else ""
    return record.rna, cds, record.protein or ""


def _header(record: Record) -> str:
    """Identifier, gene, place with 1-based inclusive exons, CDS in the RNA likewise, split."""
    exons = ",".join([f"{start + 1}-{end}" for start, end in zip(record.exon_starts, record.exon_ends, strict=True)])
    cds = f" CDS={record.cds_start + 1}-{record.cds_end}" if record.cds_start >= 0 else ""
    split = f" split={record.split}" if record.split else ""
    place = f"{record.contig}:{exons}({record.strand})"
    return f"{record.transcript_id} gene={record.gene_id} loc={place}{cds}{split}"
