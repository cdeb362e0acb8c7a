"""Reading and writing the small files of these tests."""

from __future__ import annotations

import gzip
from pathlib import Path


def read_fasta(path: Path) -> dict[str, str]:
    """Upper-case sequences of a gzipped FASTA by the first word of their header."""
    records: dict[str, list[str]] = {}
    name = ""
    with gzip.open(path, "rt") as handle:
        for line in handle:
            if line.startswith(">"):
                name = line[1:].split()[0]
                records[name] = []
            else:
                records[name].append(line.strip().upper())
    return {name: "".join(lines) for name, lines in records.items()}


def gtf_row(feature: str, start: int, end: int, attributes: str, *, strand: str = "+", frame: str = ".") -> str:
    """One GTF or GFF3 row on contig chr1; 1-based inclusive coordinates, as in the file."""
    return f"chr1\ttest\t{feature}\t{start}\t{end}\t.\t{strand}\t{frame}\t{attributes}\n"
