"""Reading an annotation: transcripts with their exons, coding pieces and selenocysteines, from GTF or GFF3."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import numpy as np

from components.extract_sequences.attributes import Naming
from components.extract_sequences.columns import (
    ATTRIBUTES,
    CONTIG,
    END,
    FEATURE,
    FRAME,
    START,
    STRAND,
    Rows,
    split_rows,
)
from components.extract_sequences.streams import read_blocks
from model.errors import InputError

EXON, CDS, SELENOCYSTEINE = range(3)
NO_FRAME = -1
_NOWHERE = 0
# transl_except=(pos:complement(120..122),aa:Sec), its comma percent-encoded in GFF3.
_SELENOCYSTEINE = re.compile(rb"pos:(?:complement\()?(\d+)\.\.(\d+)\)?(?:,|%2C)aa:Sec")
_STRANDS = {ord("+"): "+", ord("-"): "-"}
Format = Literal["gtf", "gff3"]


@dataclass(frozen=True)
class Pieces:
    """Intervals of one kind, grouped by transcript and ascending within it.

    `start`, `end`: int64 (P,), 0-based half-open. `frame`: int8 (P,), bases before the first whole codon, −1 where not
    given. `line`: int64 (P,). Transcript t has the pieces offsets[t]:offsets[t + 1].
    """

    start: np.ndarray
    end: np.ndarray
    frame: np.ndarray
    line: np.ndarray
    offsets: np.ndarray

    def of(self, transcript: int) -> slice:
        """The pieces of one transcript."""
        return slice(int(self.offsets[transcript]), int(self.offsets[transcript + 1]))

    @property
    def counts(self) -> np.ndarray:
        """Pieces per transcript, int64 (T,)."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Annotation:
    """T transcripts as annotated, in the order of the file.

    `contig` and `strand` (`+`, `-` or `.`) by transcript, `""` and `.` for one that has neither exon nor CDS; `line` of
    its first piece, 0 if none. `simulated`: the file's comments say so.
    """

    path: Path
    format: Format
    naming: list[Naming]
    contig: list[str]
    strand: list[str]
    line: np.ndarray
    exons: Pieces
    cds: Pieces
    selenocysteines: Pieces
    simulated: bool = False

    def __len__(self) -> int:
        return len(self.naming)


class Dialect(Protocol):
    """How a format says to which transcript a row belongs, and what the transcript is called."""

    piece_of_feature: ClassVar[dict[str, int]]

    def wants(self, feature: str) -> bool:
        """Whether rows of a feature that is no piece are to be described."""

    def transcripts_of(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """For rows of pieces: (row index, transcript number), both int64; a row may have several parents."""

    def describe(self, rows: Rows, features: list[str]) -> None:
        """Learn names from rows that are wanted."""

    def finish(self) -> list[Naming]:
        """Names by transcript number."""


def read_annotation(path: Path) -> Annotation:
    """Read a GTF or GFF3 file, streamed; which it is, its content says.

    Raises `InputError` naming file and line for a row without nine columns, without its transcript, with bad numbers,
    and for a transcript that stands twice or on two contigs.
    """
    from components.extract_sequences.gff3 import Gff3Dialect
    from components.extract_sequences.gtf import GtfDialect

    dialect: Dialect | None = None
    file_format: Format = "gtf"
    collector = _Collector(path)
    lines = 0
    for block in read_blocks(path):
        text, ended = _before_fasta(block)
        rows = split_rows(path, text, lines)
        lines += rows.lines
        if len(rows):
            if dialect is None:
                collector.simulated = _says_simulated(text)
                file_format = _format_of(rows)
                dialect = GtfDialect(path) if file_format == "gtf" else Gff3Dialect(path)
            collector.add(rows, dialect)
        if ended:
            break
    if dialect is None or not collector.has_exons:
        raise InputError(
            where=str(path), expected="exons of transcripts", found="none", fix="Give a GTF or GFF3 annotation."
        )
    naming = dialect.finish()
    annotation = collector.finish(file_format, naming)
    _refuse_same_names(annotation)
    return annotation


def _before_fasta(block: bytes) -> tuple[bytes, bool]:
    """GFF3 may carry sequences at its end, after a line ##FASTA."""
    at = 0 if block.startswith(b"##FASTA") else block.find(b"\n##FASTA") + 1
    if at or block.startswith(b"##FASTA"):
        return block[:at], True
    return block, False


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


def _says_simulated(first_block: bytes) -> bool:
    comments = (line for line in first_block.split(b"\n", 100)[:100] if line.startswith(b"#"))
    return any(b"SIMULATED" in line for line in comments)


def _format_of(rows: Rows) -> Format:
    first = rows.text(0, 8)
    equals, quote = first.find("="), first.find('"')
    return "gff3" if equals >= 0 and (quote < 0 or equals < quote) else "gtf"


class _Collector:
    """Gathers pieces block by block, then groups them by transcript."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.simulated = False
        self.recoded: set[tuple[int, int, int]] = set()
        self.contig_names: dict[int, str] = {_NOWHERE: ""}
        self.feature_names: dict[int, str] = {}
        self.parts: list[tuple[np.ndarray, ...]] = []

    @property
    def has_exons(self) -> bool:
        return any(len(part[0]) for part in self.parts)

    def add(self, rows: Rows, dialect: Dialect) -> None:
        hashes = rows.names(FEATURE, self.feature_names)
        present, inverse = np.unique(hashes, return_inverse=True)
        names = [self.feature_names[value] for value in present.tolist()]
        kind = np.array([dialect.piece_of_feature.get(name, -1) for name in names], dtype=np.int8)[inverse]
        wanted = np.array([name not in dialect.piece_of_feature and dialect.wants(name) for name in names])[inverse]
        dialect.describe(rows.take(wanted), [names[index] for index in inverse[wanted].tolist()])
        chosen = kind >= 0
        pieces = rows.take(chosen)
        if not len(pieces):
            return
        kinds = kind[chosen]
        row, transcript = dialect.transcripts_of(pieces)
        start, end = pieces.integers(START) - 1, pieces.integers(END)
        backwards = np.flatnonzero(end <= start)
        if len(backwards):
            first = int(backwards[0])
            raise pieces.error(first, "a start not after the end", f"{start[first] + 1}-{end[first]}")
        frame = pieces.letters(FRAME).astype(np.int16) - ord("0")
        frame = np.where((frame >= 0) & (frame <= 2), frame, NO_FRAME).astype(np.int8)
        contig, strand = pieces.names(CONTIG, self.contig_names), pieces.letters(STRAND)
        columns = (kinds, start, end, frame, pieces.line, contig, strand)
        self.parts.append((transcript, *(column[row] for column in columns)))
        if b"transl_except" in rows.block:
            self._add_recoded(pieces, row, transcript, kinds, contig, strand)

    def _add_recoded(
        self,
        pieces: Rows,
        row: np.ndarray,
        transcript: np.ndarray,
        kinds: np.ndarray,
        contig: np.ndarray,
        strand: np.ndarray,
    ) -> None:
        """Selenocysteines of RefSeq, which stand in an attribute of each CDS row of their transcript."""
        for place, number in zip(row.tolist(), transcript.tolist(), strict=True):
            if kinds[place] != CDS:
                continue
            for match in _SELENOCYSTEINE.finditer(pieces.field(place, ATTRIBUTES)):
                key = (number, int(match[1]) - 1, int(match[2]))
                if key not in self.recoded:
                    self.recoded.add(key)
                    values = (
                        *key[:1],
                        SELENOCYSTEINE,
                        *key[1:],
                        NO_FRAME,
                        pieces.line[place],
                        contig[place],
                        strand[place],
                    )
                    self.parts.append(tuple(np.array([value]) for value in values))

    def finish(self, file_format: Format, naming: list[Naming]) -> Annotation:
        transcript, kind, start, end, frame, line, contig, strand = (
            np.concatenate(columns) for columns in zip(*self.parts, strict=True)
        )
        # The first piece of each transcript says where it lies; the others must agree.
        first = np.full(len(naming), -1, dtype=np.int64)
        order = np.arange(len(transcript))[::-1]
        first[transcript[order]] = order
        self._refuse_two_places(naming, transcript, first, contig, strand, line)
        groups = []
        for wanted in (EXON, CDS, SELENOCYSTEINE):
            mine = kind == wanted
            groups.append(_grouped(transcript[mine], start[mine], end[mine], frame[mine], line[mine], len(naming)))
        placed = first >= 0
        return Annotation(
            path=self.path,
            format=file_format,
            naming=naming,
            contig=[
                self.contig_names[value] for value in np.where(placed, contig[first], np.uint64(_NOWHERE)).tolist()
            ],
            strand=[_STRANDS.get(value, ".") for value in np.where(placed, strand[first], 0).tolist()],
            line=np.where(placed, line[first], 0),
            exons=groups[EXON],
            cds=groups[CDS],
            selenocysteines=groups[SELENOCYSTEINE],
            simulated=self.simulated,
        )

    def _refuse_two_places(
        self,
        naming: list[Naming],
        transcript: np.ndarray,
        first: np.ndarray,
        contig: np.ndarray,
        strand: np.ndarray,
        line: np.ndarray,
    ) -> None:
        elsewhere = (contig != contig[first[transcript]]) | (strand != strand[first[transcript]])
        if not elsewhere.any():
            return
        row = int(np.flatnonzero(elsewhere)[0])
        name = naming[transcript[row]].transcript_id
        raise InputError(
            where=f"{self.path}, line {line[row]:,}",
            expected="each transcript on one contig and strand",
            found=f"duplicated transcript {name!r}, which began on line {line[first[transcript[row]]]:,} elsewhere",
            fix="Give each copy an identifier of its own, as GENCODE does with _PAR_Y, or remove one.",
        )


def _grouped(
    transcript: np.ndarray, start: np.ndarray, end: np.ndarray, frame: np.ndarray, line: np.ndarray, transcripts: int
) -> Pieces:
    order = np.lexsort((start, transcript))
    offsets = np.searchsorted(transcript[order], np.arange(transcripts + 1))
    return Pieces(start=start[order], end=end[order], frame=frame[order], line=line[order], offsets=offsets)
