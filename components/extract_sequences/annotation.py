"""Reading an annotation: transcripts with their exons, coding pieces and selenocysteines, from GTF or GFF3."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from components.extract_sequences.columns import ATTRIBUTES, Rows, split_rows
from components.extract_sequences.gathering import Gathering, SortedRows, Sorter
from components.extract_sequences.gff3 import Gff3Dialect
from components.extract_sequences.gtf import GtfDialect
from components.extract_sequences.pieces import Annotation, Dialect, Format
from components.extract_sequences.streams import ahead, read_blocks
from model.errors import InputError

__all__ = ["Annotation", "read_annotation"]


def read_annotation(path: Path) -> Annotation:
    """Read a GTF or GFF3 file, streamed; which it is, its content says.

    Raises `InputError` naming file and line for a row without nine columns, without its transcript, with bad numbers,
    and for a transcript that stands twice or on two contigs.
    """
    rows = _data_rows(path)
    first = next(rows, None)
    file_format: Format = "gtf" if first is None else _format_of(first)
    dialect: Dialect = GtfDialect(path) if file_format == "gtf" else Gff3Dialect(path)
    sorter, gathering = Sorter(dialect), Gathering(path, dialect)
    # One thread reads, splits and sorts the next block while this one gathers the last.
    for block in ahead(_sorted_rows(sorter, [] if first is None else [first], rows)):
        gathering.add(block)
    simulated = first is not None and _says_simulated(first.block)
    annotation = gathering.finish(file_format, sorter.contig_names, simulated=simulated)
    _refuse_same_names(annotation)
    return annotation


def _data_rows(path: Path) -> Iterator[Rows]:
    """Blocks that have rows of data, up to the sequences that GFF3 may carry behind ##FASTA."""
    lines = 0
    for block in read_blocks(path):
        at = 0 if block.startswith(b"##FASTA") else block.find(b"\n##FASTA") + 1
        ended = at > 0 or block.startswith(b"##FASTA")
        rows = split_rows(path, block[:at] if ended else block, lines)
        lines += rows.lines
        if len(rows):
            yield rows
        if ended:
            break


def _sorted_rows(sorter: Sorter, first: list[Rows], others: Iterator[Rows]) -> Iterator[SortedRows]:
    for rows in itertools.chain(first, others):
        yield sorter.sort(rows)


def _format_of(rows: Rows) -> Format:
    first = rows.text(0, ATTRIBUTES)
    equals, quote = first.find("="), first.find('"')
    return "gff3" if equals >= 0 and (quote < 0 or equals < quote) else "gtf"


def _says_simulated(first_block: bytes) -> bool:
    comments = (line for line in first_block.split(b"\n", 100)[:100] if line.startswith(b"#"))
    return any(b"SIMULATED" in line for line in comments)


def _refuse_same_names(annotation: Annotation) -> None:
    seen: dict[str, int] = {}
    for number, naming in enumerate(annotation.naming):
        before = seen.setdefault(naming.transcript_id, number)
        if before != number:
            raise InputError(
                where=f"{annotation.path}, line {annotation.line[number]:,}",
                expected="each transcript once",
                found=f"duplicated transcript {naming.transcript_id!r}, already on line {annotation.line[before]:,}",
                fix="Give each copy an identifier of its own, as GENCODE does with _PAR_Y, or remove one.",
            )
