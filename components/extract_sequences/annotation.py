"""Reading an annotation: transcripts with their exons, coding pieces and selenocysteines, from GTF or GFF3."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.allocation import keep_freed_memory
from components.background import iterate_forked
from components.extract_sequences.columns import ATTRIBUTES, Rows, split_rows
from components.extract_sequences.gathering import Gathering
from components.extract_sequences.gff3 import Gff3Dialect, Gff3Names
from components.extract_sequences.gtf import GtfDialect, GtfNames
from components.extract_sequences.pieces import Annotation, Format
from components.extract_sequences.sorting import Sorter
from components.extract_sequences.streams import read_blocks
from model.errors import InputError

__all__ = ["Annotation", "read_annotation"]

# A smaller file is read sooner than a process is of use.
_LARGE_BYTES = 1 << 21


@dataclass(frozen=True)
class _Header:
    """What the first block of data says of the whole file."""

    format: Format
    simulated: bool


def read_annotation(path: Path) -> Annotation:
    """Read a GTF or GFF3 file, streamed; which it is, its content says.

    Raises `InputError` naming file and line for a row without nine columns, without its transcript, with bad numbers,
    and for a transcript that stands twice.
    """
    keep_freed_memory()
    large = path.is_file() and path.stat().st_size > _LARGE_BYTES
    # Another process reads and sorts the next block while this one gathers the last.
    blocks = iterate_forked(lambda: _read(path)) if large else _read(path)
    with closing(blocks):
        header = next(blocks, _Header("gtf", simulated=False))
        gathering = Gathering(path, GtfNames() if header.format == "gtf" else Gff3Names())
        for block in blocks:
            gathering.add(block)
    annotation = gathering.finish(header.format, simulated=header.simulated)
    _refuse_same_names(annotation)
    return annotation


def _read(path: Path) -> Generator[Any, None, None]:
    """A `_Header`, then a `SortedRows` by block."""
    rows = _data_rows(path)
    first = next(rows, None)
    if first is None:
        return
    file_format = _format_of(first)
    yield _Header(file_format, simulated=_says_simulated(first.block))
    sorter = Sorter(GtfDialect(path) if file_format == "gtf" else Gff3Dialect(path))
    for block in itertools.chain([first], rows):
        yield sorter.sort(block)


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
