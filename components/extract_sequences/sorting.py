"""Sorting the rows of a block of annotation: pieces with their transcripts and numbers, and rows that name things."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

import numpy as np

from components.extract_sequences.columns import (
    ATTRIBUTES,
    CONTIG,
    END,
    FEATURE,
    FRAME,
    START,
    STRAND,
    NameNumbers,
    Rows,
)
from components.extract_sequences.pieces import CDS, NO_FRAME, SELENOCYSTEINE, Dialect, Learned

# transl_except=(pos:complement(120..122),aa:Sec), its comma percent-encoded in GFF3.
_RECODED = re.compile(rb"pos:(?:complement\()?(\d{1,18})\.\.(\d{1,18})\)?(?:,|%2C)aa:Sec")


@dataclass(frozen=True)
class PieceRows:
    """R rows of pieces: `transcript` int64, `kind` int8, `start`, `end` int64 0-based half-open, `frame` int8, `line`
    int64, `contig` int64 (an index into names), `strand` uint8 (its letter).
    """

    transcript: np.ndarray
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

    @staticmethod
    def joined(parts: list[PieceRows]) -> PieceRows:
        """All rows of several."""
        return PieceRows(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(PieceRows)))


@dataclass(frozen=True)
class SortedRows:
    """What a block of rows says; `contigs`: names that earlier blocks did not have, to be counted on."""

    pieces: PieceRows
    learned: list[Learned]
    contigs: list[str]


class Sorter:
    """Sorts block after block; needs nothing of what becomes of them, so that another process can do it."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._features = NameNumbers()
        self._contigs = NameNumbers()
        self._recoded: set[tuple[int, int, int]] = set()

    def sort(self, rows: Rows) -> SortedRows:
        """Raises `InputError` with the line of coordinates that are none, and of a piece without its transcript."""
        feature = self._features.of(rows, FEATURE)
        names = self._features.names
        kind = np.array([self._dialect.piece_of_feature.get(name, -1) for name in names], dtype=np.int8)[feature]
        wanted = np.array([self._dialect.wants(name) for name in names], dtype=bool)[feature] & (kind < 0)
        contigs_before = len(self._contigs.names)
        pieces = rows.take(kind >= 0)
        values = self._values(pieces, kind[kind >= 0])
        self._dialect.describe(rows.take(wanted), [names[number] for number in feature[wanted].tolist()])
        if len(pieces):
            row, transcript = self._dialect.transcripts_of(pieces)
            values = self._with_recoded(pieces, row, _owned(values, row, transcript))
        return SortedRows(values, self._dialect.learned(), self._contigs.names[contigs_before:])

    def _values(self, pieces: Rows, kind: np.ndarray) -> PieceRows:
        start, end = pieces.integers(START) - 1, pieces.integers(END)
        backwards = np.flatnonzero(end <= start)
        if len(backwards):
            first = int(backwards[0])
            raise pieces.error(first, "a start not after the end", f"{start[first] + 1}-{end[first]}")
        frame = pieces.letters(FRAME).astype(np.int16) - ord("0")
        return PieceRows(
            transcript=np.empty(len(pieces), dtype=np.int64),
            kind=kind,
            start=start,
            end=end,
            frame=np.where((frame >= 0) & (frame <= 2), frame, NO_FRAME).astype(np.int8),
            line=pieces.line,
            contig=self._contigs.of(pieces, CONTIG),
            strand=pieces.letters(STRAND),
        )

    def _with_recoded(self, pieces: Rows, row: np.ndarray, values: PieceRows) -> PieceRows:
        """With the selenocysteines of RefSeq, which stand in an attribute of each CDS row of their transcript."""
        # A single letter is found several times faster than a word, and most annotations do not have it.
        if b"(" not in pieces.block or b"transl_except" not in pieces.block:
            return values
        parts = [values]
        for place, number in enumerate(values.transcript.tolist()):
            if values.kind[place] != CDS:
                continue
            for match in _RECODED.finditer(pieces.field(int(row[place]), ATTRIBUTES)):
                codon = int(match[1]) - 1, int(match[2])
                if (number, *codon) not in self._recoded and 0 <= codon[0] < codon[1]:
                    self._recoded.add((number, *codon))
                    one = values.take(np.array([place]))
                    one.kind[:], one.start[:], one.end[:], one.frame[:] = SELENOCYSTEINE, *codon, NO_FRAME
                    parts.append(one)
        return PieceRows.joined(parts)


def _owned(values: PieceRows, row: np.ndarray, transcript: np.ndarray) -> PieceRows:
    """The pieces of `row` (N,), which belong to `transcript` (N,)."""
    # Mostly each row has one parent, and is there as it is.
    taken = values if len(row) == len(values.line) and (row == np.arange(len(row))).all() else values.take(row)
    taken.transcript[:] = transcript
    return taken
