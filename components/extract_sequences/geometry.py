"""Where exons and coding pieces lie in the spliced RNA, for all transcripts at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.extract_sequences.pieces import NO_FRAME, Annotation, Pieces
from model.errors import InputError

# Wider than any contig, so that transcript * _STRIDE + position orders all pieces of all transcripts.
_STRIDE = 1 << 40


@dataclass(frozen=True)
class Geometry:
    """Offsets in the spliced RNA, sense direction, by transcript (T,) unless said otherwise.

    `rna_length`: int64. `cds_start`, `cds_end`: int64, as annotated (with or without the stop codon), −1 where there is
    no CDS. `phase`: int8, bases to skip before the first whole codon. `contiguous`: the coding pieces follow each other
    without gap or overlap. `in_frame`: the pieces' frames continue each other. `outside`: some CDS base is in no exon.
    `exons_from_cds`: no exon was annotated, so the coding pieces stand for them. `selenocysteine_offset` (rows,): of
    the first base of each row of `annotation.selenocysteines`, −1 outside exons.
    """

    exons: Pieces
    rna_length: np.ndarray
    cds_start: np.ndarray
    cds_end: np.ndarray
    phase: np.ndarray
    contiguous: np.ndarray
    in_frame: np.ndarray
    outside: np.ndarray
    exons_from_cds: np.ndarray
    selenocysteine_offset: np.ndarray


def measure(annotation: Annotation) -> Geometry:
    """Locate all pieces in their RNAs; exons of one transcript that overlap raise `InputError` with their line."""
    exons, from_cds = _with_exons_from_cds(annotation)
    _refuse_overlaps(annotation, exons)
    owner = np.repeat(np.arange(len(annotation)), exons.counts)
    before = _bases_before(exons)
    length = np.bincount(owner, weights=exons.end - exons.start, minlength=len(annotation)).astype(np.int64)
    minus = np.array([strand == "-" for strand in annotation.strand], dtype=bool)

    def offsets_of(pieces: Pieces) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Owner, first and one-past-last offset of pieces, and whether each lies in one exon."""
        transcript = np.repeat(np.arange(len(annotation)), pieces.counts)
        place = np.searchsorted(owner * _STRIDE + exons.start, transcript * _STRIDE + pieces.start, side="right") - 1
        clipped = np.maximum(place, 0)
        inside = (place >= 0) & (owner[clipped] == transcript) & (pieces.end <= exons.end[clipped])
        forward = before[clipped] + pieces.start - exons.start[clipped]
        size = pieces.end - pieces.start
        first = np.where(minus[transcript], length[transcript] - forward - size, forward)
        return transcript, first, first + size, inside

    cds = annotation.cds
    transcript, first, last, inside = offsets_of(cds) if len(owner) else _nothing()
    cds_start = np.full(len(annotation), np.iinfo(np.int64).max)
    cds_end = np.full(len(annotation), -1)
    np.minimum.at(cds_start, transcript, first)
    np.maximum.at(cds_end, transcript, last)
    has_cds = cds.counts > 0
    bases = np.bincount(transcript, weights=last - first, minlength=len(annotation)).astype(np.int64)
    phase, in_frame = _phases(annotation, transcript, first, last, cds_start, minus)
    _, sec_first, _, sec_inside = offsets_of(annotation.selenocysteines) if len(owner) else _nothing()
    return Geometry(
        exons=exons,
        rna_length=length,
        cds_start=np.where(has_cds, cds_start, -1),
        cds_end=np.where(has_cds, cds_end, -1),
        phase=phase,
        contiguous=bases == cds_end - cds_start,
        in_frame=in_frame,
        outside=np.bincount(transcript[~inside], minlength=len(annotation)) > 0,
        exons_from_cds=from_cds,
        selenocysteine_offset=np.where(sec_inside, sec_first, -1),
    )


def _nothing() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    none = np.empty(0, dtype=np.int64)
    return none, none, none, none.astype(bool)


def _phases(
    annotation: Annotation,
    transcript: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    cds_start: np.ndarray,
    minus: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Phase of the 5'-most coding piece by transcript, and whether the other pieces' frames follow from it."""
    cds = annotation.cds
    phase = np.zeros(len(annotation), dtype=np.int8)
    counts = cds.counts
    coding = np.flatnonzero(counts > 0)
    five_prime = np.where(minus[coding], cds.offsets[coding + 1] - 1, cds.offsets[coding])
    phase[coding] = np.maximum(cds.frame[five_prime], 0)
    # Bases of the CDS before each piece, in sense direction.
    size = last - first
    running = np.cumsum(size) - size
    start_of = running[np.minimum(cds.offsets[:-1], max(len(size) - 1, 0))] if len(size) else np.zeros(len(annotation))
    total = np.bincount(transcript, weights=size, minlength=len(annotation)).astype(np.int64)
    ascending = running - start_of[transcript]
    preceding = np.where(minus[transcript], total[transcript] - ascending - size, ascending).astype(np.int64)
    expected = (phase[transcript] - preceding) % 3
    off = (cds.frame != NO_FRAME) & (cds.frame != expected)
    return phase, np.bincount(transcript[off], minlength=len(annotation)) == 0


def _bases_before(exons: Pieces) -> np.ndarray:
    """Exonic bases of the same transcript upstream (forward strand) of each exon, int64 (P,)."""
    size = exons.end - exons.start
    running = np.cumsum(size) - size
    return running - np.repeat(running[np.minimum(exons.offsets[:-1], max(len(size) - 1, 0))], exons.counts)


def _with_exons_from_cds(annotation: Annotation) -> tuple[Pieces, np.ndarray]:
    """Exons, where a transcript with a CDS but no exons has its coding pieces as exons."""
    exons, cds = annotation.exons, annotation.cds
    without = (exons.counts == 0) & (cds.counts > 0)
    if not without.any():
        return exons, without
    counts = np.where(without, cds.counts, exons.counts)
    owner = np.repeat(np.arange(len(annotation)), exons.counts)
    cds_owner = np.repeat(np.arange(len(annotation)), cds.counts)
    lent = without[cds_owner]
    order = np.argsort(np.concatenate([owner, cds_owner[lent]]), kind="stable")
    joined = {
        name: np.concatenate([getattr(exons, name), getattr(cds, name)[lent]])[order]
        for name in ("start", "end", "frame", "line")
    }
    return Pieces(**joined, offsets=np.concatenate([[0], np.cumsum(counts)])), without


def _refuse_overlaps(annotation: Annotation, exons: Pieces) -> None:
    owner = np.repeat(np.arange(len(annotation)), exons.counts)
    overlap = np.flatnonzero((owner[1:] == owner[:-1]) & (exons.start[1:] < exons.end[:-1]))
    if len(overlap):
        here, there = exons.line[overlap[0] + 1], exons.line[overlap[0]]
        name = annotation.naming[owner[overlap[0]]].transcript_id
        raise InputError(
            where=f"{annotation.path}, line {max(here, there):,}",
            expected="exons of a transcript that do not overlap",
            found=f"one that overlaps the exon of line {min(here, there):,}: {name!r} is duplicated",
            fix="Give each copy an identifier of its own, or remove one.",
        )


def refuse_outside(annotation: Annotation, lengths: np.ndarray) -> None:
    """Raise `InputError` naming the first line whose interval runs past its contig; `lengths` by transcript (T,).

    A length of −1 is a contig that the genome does not have: its transcripts are left out elsewhere.
    """
    for pieces in (annotation.exons, annotation.cds, annotation.selenocysteines):
        length = np.repeat(lengths, pieces.counts)
        outside = np.flatnonzero((length >= 0) & (pieces.end > length))
        if len(outside):
            at = outside[np.argmin(pieces.line[outside])]
            transcript = int(np.searchsorted(pieces.offsets, at, side="right")) - 1
            raise InputError(
                where=f"{annotation.path}, line {pieces.line[at]:,}",
                expected=f"an interval on contig {annotation.contig[transcript]!r} of {length[at]:,} bases",
                found=f"{pieces.start[at] + 1:,}-{pieces.end[at]:,} of {annotation.naming[transcript].transcript_id!r}",
                fix="The annotation is of another assembly than the genome: give a pair that belongs together.",
            )
