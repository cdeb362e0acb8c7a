"""Gathering the rows of an annotation, block by block, into pieces grouped by transcript."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path

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
)
from components.extract_sequences.pieces import (
    CDS,
    EXON,
    NO_FRAME,
    SELENOCYSTEINE,
    Annotation,
    Dialect,
    Format,
    Pieces,
)
from model.errors import InputError

_NOWHERE = 0
_STRANDS = {ord("+"): "+", ord("-"): "-"}
# transl_except=(pos:complement(120..122),aa:Sec), its comma percent-encoded in GFF3.
_RECODED = re.compile(rb"pos:(?:complement\()?(\d{1,18})\.\.(\d{1,18})\)?(?:,|%2C)aa:Sec")


@dataclass(frozen=True)
class PieceRows:
    """R rows of pieces: `kind` int8, `start`, `end` int64 0-based half-open, `frame` int8, `line` int64, `contig`
    uint64 (its hash), `strand` uint8 (its letter).
    """

    kind: np.ndarray
    start: np.ndarray
    end: np.ndarray
    frame: np.ndarray
    line: np.ndarray
    contig: np.ndarray
    strand: np.ndarray

    def take(self, chosen: np.ndarray) -> PieceRows:
        """The rows of a boolean or index array."""
        return PieceRows(*(getattr(self, item.name)[chosen] for item in fields(self)))


@dataclass(frozen=True)
class SortedRows:
    """Rows of a block by what they are for: `described` with their `features`, and `pieces` with their values."""

    described: Rows
    features: list[str]
    pieces: Rows
    values: PieceRows


class Sorter:
    """Tells pieces from rows that name things, and reads their numbers; numpy only, so that a thread can do it."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._feature_names: dict[int, str] = {}
        self.contig_names: dict[int, str] = {_NOWHERE: ""}

    def sort(self, rows: Rows) -> SortedRows:
        """Raises `InputError` with the line of coordinates that are none."""
        hashes = rows.names(FEATURE, self._feature_names)
        present, inverse = np.unique(hashes, return_inverse=True)
        names = [self._feature_names[value] for value in present.tolist()]
        kind = np.array([self._dialect.piece_of_feature.get(name, -1) for name in names], dtype=np.int8)[inverse]
        wanted = np.array([self._dialect.wants(name) for name in names], dtype=bool)[inverse] & (kind < 0)
        pieces = rows.take(kind >= 0)
        start, end = pieces.integers(START) - 1, pieces.integers(END)
        backwards = np.flatnonzero(end <= start)
        if len(backwards):
            first = int(backwards[0])
            raise pieces.error(first, "a start not after the end", f"{start[first] + 1}-{end[first]}")
        frame = pieces.letters(FRAME).astype(np.int16) - ord("0")
        values = PieceRows(
            kind=kind[kind >= 0],
            start=start,
            end=end,
            frame=np.where((frame >= 0) & (frame <= 2), frame, NO_FRAME).astype(np.int8),
            line=pieces.line,
            contig=pieces.names(CONTIG, self.contig_names),
            strand=pieces.letters(STRAND),
        )
        return SortedRows(rows.take(wanted), [names[index] for index in inverse[wanted].tolist()], pieces, values)


class Gathering:
    """Pieces of all blocks so far, each with the number of its transcript."""

    def __init__(self, path: Path, dialect: Dialect) -> None:
        self._path = path
        self._dialect = dialect
        self._transcripts: list[np.ndarray] = []
        self._values: list[PieceRows] = []
        self._recoded: set[tuple[int, int, int]] = set()

    def add(self, block: SortedRows) -> None:
        """Take a block; a piece without its transcript raises `InputError`."""
        self._dialect.describe(block.described, block.features)
        if not len(block.pieces):
            return
        row, transcript = self._dialect.transcripts_of(block.pieces)
        self._transcripts.append(transcript)
        self._values.append(block.values.take(row))
        if b"transl_except" in block.pieces.block:
            self._add_recoded(block, row, transcript)

    def _add_recoded(self, block: SortedRows, row: np.ndarray, transcript: np.ndarray) -> None:
        """Selenocysteines of RefSeq, which stand in an attribute of each CDS row of their transcript."""
        for place, number in zip(row.tolist(), transcript.tolist(), strict=True):
            if block.values.kind[place] != CDS:
                continue
            for match in _RECODED.finditer(block.pieces.field(place, ATTRIBUTES)):
                codon = int(match[1]) - 1, int(match[2])
                if (number, *codon) not in self._recoded and 0 <= codon[0] < codon[1]:
                    self._recoded.add((number, *codon))
                    one = block.values.take(np.array([place]))
                    one.kind[:], one.start[:], one.end[:], one.frame[:] = SELENOCYSTEINE, *codon, NO_FRAME
                    self._transcripts.append(np.array([number]))
                    self._values.append(one)

    def finish(self, file_format: Format, contig_names: dict[int, str], *, simulated: bool) -> Annotation:
        """Group by transcript; no piece at all, and a transcript at two places, raise `InputError`."""
        if not self._values:
            raise InputError(
                where=str(self._path),
                expected="exons of transcripts",
                found="none",
                fix="Give a GTF or GFF3 annotation.",
            )
        naming = self._dialect.finish()
        transcript = np.concatenate(self._transcripts)
        values = PieceRows(
            *(np.concatenate([getattr(part, item.name) for part in self._values]) for item in fields(PieceRows))
        )
        # The first piece of each transcript says where it lies; the others must agree.
        first = np.full(len(naming), -1, dtype=np.int64)
        first[transcript[::-1]] = np.arange(len(transcript))[::-1]
        self._refuse_two_places(naming, transcript, first, values)
        placed = first >= 0
        at = values.take(first)
        groups = [_grouped(transcript, values, kind, len(naming)) for kind in (EXON, CDS, SELENOCYSTEINE)]
        return Annotation(
            path=self._path,
            format=file_format,
            naming=naming,
            contig=[contig_names[value] for value in np.where(placed, at.contig, np.uint64(_NOWHERE)).tolist()],
            strand=[_STRANDS.get(value, ".") for value in np.where(placed, at.strand, 0).tolist()],
            line=np.where(placed, at.line, 0),
            exons=groups[EXON],
            cds=groups[CDS],
            selenocysteines=groups[SELENOCYSTEINE],
            simulated=simulated,
        )

    def _refuse_two_places(
        self, naming: list[Naming], transcript: np.ndarray, first: np.ndarray, values: PieceRows
    ) -> None:
        home = first[transcript]
        elsewhere = np.flatnonzero((values.contig != values.contig[home]) | (values.strand != values.strand[home]))
        if len(elsewhere):
            row = elsewhere[0]
            name = naming[transcript[row]].transcript_id
            raise InputError(
                where=f"{self._path}, line {values.line[row]:,}",
                expected="each transcript on one contig and strand",
                found=f"duplicated transcript {name!r}, which began on line {values.line[home[row]]:,} elsewhere",
                fix="Give each copy an identifier of its own, as GENCODE does with _PAR_Y, or remove one.",
            )


def _grouped(transcript: np.ndarray, values: PieceRows, kind: int, transcripts: int) -> Pieces:
    mine = values.kind == kind
    owner, rows = transcript[mine], values.take(mine)
    order = np.lexsort((rows.start, owner))
    return Pieces(
        start=rows.start[order],
        end=rows.end[order],
        frame=rows.frame[order],
        line=rows.line[order],
        offsets=np.searchsorted(owner[order], np.arange(transcripts + 1)),
    )
