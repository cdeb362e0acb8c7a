"""Gathering the sorted rows of an annotation, block by block, into pieces grouped by transcript."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from components.extract_sequences.pieces import CDS, EXON, SELENOCYSTEINE, Annotation, Format, Names, Pieces
from components.extract_sequences.sorting import PieceRows, SortedRows
from model.errors import InputError

_STRANDS = {ord("+"): "+", ord("-"): "-"}


class Gathering:
    """Pieces of all blocks so far, and what their transcripts are called."""

    def __init__(self, path: Path, names: Names) -> None:
        self._path = path
        self._names = names
        self._contigs: list[str] = []
        self._parts: list[PieceRows] = []

    def add(self, block: SortedRows) -> None:
        """Take the next block."""
        self._names.learn(block.learned)
        self._contigs += block.contigs
        if len(block.pieces.line):
            self._parts.append(block.pieces)

    def finish(self, file_format: Format, *, simulated: bool) -> Annotation:
        """Group by transcript; no piece at all raises `InputError`."""
        if not self._parts:
            raise InputError(
                where=str(self._path),
                expected="exons of transcripts",
                found="none",
                fix="Give a GTF or GFF3 annotation.",
            )
        naming = self._names.finish()
        values = PieceRows.joined(self._parts)
        self._parts.clear()
        # The first piece of each transcript says where it lies.
        first = np.full(len(naming), -1, dtype=np.int64)
        first[values.transcript[::-1]] = np.arange(len(values.line))[::-1]
        placed = first >= 0
        at = values.take(first)
        scattered = _scattered(values, first)
        if scattered:
            values = values.take(~np.isin(values.transcript, list(scattered)))
        groups = [_grouped(values, kind, len(naming)) for kind in (EXON, CDS, SELENOCYSTEINE)]
        return Annotation(
            path=self._path,
            format=file_format,
            naming=naming,
            contig=[self._contigs[value] if value >= 0 else "" for value in np.where(placed, at.contig, -1).tolist()],
            strand=[_STRANDS.get(value, ".") for value in np.where(placed, at.strand, 0).tolist()],
            line=np.where(placed, at.line, 0),
            exons=groups[EXON],
            cds=groups[CDS],
            selenocysteines=groups[SELENOCYSTEINE],
            trans_spliced=scattered,
            simulated=simulated,
        )


def _scattered(values: PieceRows, first: np.ndarray) -> frozenset[int]:
    """Transcripts with a piece on another contig or strand than their first."""
    home = first[values.transcript]
    elsewhere = (values.contig != values.contig[home]) | (values.strand != values.strand[home])
    return frozenset(values.transcript[elsewhere].tolist())


def _grouped(values: PieceRows, kind: int, transcripts: int) -> Pieces:
    rows = values.take(values.kind == kind)
    # Position within transcript, in one key where that can be, which sorts faster than two.
    order = np.lexsort((rows.start, rows.transcript))
    return Pieces(
        start=rows.start[order],
        end=rows.end[order],
        frame=rows.frame[order],
        line=rows.line[order],
        offsets=np.searchsorted(rows.transcript[order], np.arange(transcripts + 1)),
    )
