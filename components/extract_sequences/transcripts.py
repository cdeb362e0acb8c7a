"""Transcripts as the model reads them: spliced RNA, CDS bounds, protein, TSS, DNA window, and what is unusual."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from components.extract_sequences.coding import Coding, read_cds
from components.extract_sequences.contig_names import MITOCHONDRIAL, match_contigs
from components.extract_sequences.geometry import Geometry, measure, refuse_outside
from components.extract_sequences.orf import longest_orf
from components.extract_sequences.pieces import Annotation, Pieces
from components.sections import ExtractParams
from components.sequences import (
    CODE_N,
    MITOCHONDRIAL_CODE,
    STANDARD_CODE,
    Genome,
    letters_of_bytes,
    splice,
    translate_all,
    window_interval,
)

_INCOMPLETE = ("cds_start_NF", "cds_end_NF", "mRNA_start_NF", "mRNA_end_NF")
_SEGMENT_TYPES = ("IG_", "TR_")
# Types that say nothing of whether a transcript without CDS is translated.
_UNDECIDED_TYPES = frozenset(("", "unknown", "protein_coding", "mRNA", "TEC", "novel"))


# Transcripts that are read together: enough for numpy, few enough for a CPU's cache.
_CUT_AT_ONCE = 1024


@dataclass(slots=True)
class Transcript:
    """One transcript; fields as in transcripts.parquet. `rna` is its letters, `number` its place in the annotation."""

    number: int
    transcript_id: str
    gene_id: str
    gene_name: str | None
    gene_type: str
    transcript_type: str
    contig: str
    strand: str
    tss: int
    window_start: int
    window_end: int
    exon_starts: np.ndarray
    exon_ends: np.ndarray
    rna: str
    cds_start: int
    cds_end: int
    cds_phase: int
    protein: str | None
    coding_status: str
    tags: tuple[str, ...]
    reasons: list[str]


@dataclass
class Extraction:
    """Transcripts in the order (contig of the genome, TSS, id), and how many were left out, by reason."""

    transcripts: list[Transcript] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    renamed_contigs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """Transcripts of one contig, by their number in the annotation, in the order (TSS, id)."""

    contig: str
    numbers: list[int]


class Plan:
    """What is to be cut out of the genome, `parts` in the order of its contigs; what is not is counted in `dropped`."""

    def __init__(
        self, annotation: Annotation, genome: Genome, params: ExtractParams, chosen: Iterable[int] | None = None
    ) -> None:
        """Raises as `extract` does."""
        self._annotation, self._genome, self._params = annotation, genome, params
        self._geometry = measure(annotation)
        contigs = match_contigs(annotation, genome)
        refuse_outside(annotation, np.array([genome.length(name) if name else -1 for name in contigs], dtype=np.int64))
        self.renamed_contigs = {
            old: new for old, new in zip(annotation.contig, contigs, strict=True) if new and old != new
        }
        self.dropped: Counter[str] = Counter()
        by_contig: dict[str, list[int]] = {}
        for number in range(len(annotation)) if chosen is None else chosen:
            reason = _reason_to_drop(annotation, self._geometry, number, contigs[number], params)
            if reason:
                self.dropped[reason] += 1
            else:
                by_contig.setdefault(contigs[number], []).append(number)
        self.parts = [
            Part(contig, self._in_order(by_contig[contig])) for contig in genome.contigs if contig in by_contig
        ]

    def _in_order(self, numbers: list[int]) -> list[int]:
        exons, strand, naming = self._geometry.exons, self._annotation.strand, self._annotation.naming
        first = exons.start[exons.offsets[numbers]].tolist()
        last = exons.end[exons.offsets[np.array(numbers) + 1] - 1].tolist()
        keys = [
            (start if strand[number] == "+" else end - 1, naming[number].transcript_id, number)
            for number, start, end in zip(numbers, first, last, strict=True)
        ]
        return [number for _, _, number in sorted(keys)]

    def rna_length(self, number: int) -> int:
        """Bases of a transcript's RNA."""
        return int(self._geometry.rna_length[number])

    def cut(self, part: Part, dropped: Counter[str]) -> Iterator[Transcript]:
        """The transcripts of a part, but for those whose window leaves the contig where these are to be dropped."""
        cutter = _Cutter(self._annotation, self._geometry, self._genome, part.contig, self._params)
        for start in range(0, len(part.numbers), _CUT_AT_ONCE):
            yield from cutter.cut(part.numbers[start : start + _CUT_AT_ONCE], dropped)


def extract(
    annotation: Annotation, genome: Genome, params: ExtractParams, chosen: Iterable[int] | None = None
) -> Extraction:
    """Cut the transcripts out of the genome; `chosen` are numbers in the annotation, all if None.

    Raises `InputError` for an interval past its contig, overlapping exons, or no contig in common.
    """
    plan = Plan(annotation, genome, params, chosen)
    transcripts = [item for part in plan.parts for item in plan.cut(part, plan.dropped)]
    return Extraction(transcripts, plan.dropped, plan.renamed_contigs)


def _reason_to_drop(
    annotation: Annotation, geometry: Geometry, number: int, contig: str, params: ExtractParams
) -> str | None:
    naming = annotation.naming[number]
    if number in annotation.trans_spliced:
        return "trans_spliced"
    if not geometry.rna_length[number]:
        return "no_exons"
    if not contig:
        return "contig_not_in_genome"
    if annotation.strand[number] == ".":
        return "no_strand"
    if params.gene_types and naming.gene_type not in params.gene_types:
        return "gene_type_not_chosen"
    if params.transcript_types and naming.transcript_type not in params.transcript_types:
        return "transcript_type_not_chosen"
    if params.coding_only and geometry.cds_start[number] < 0:
        return "not_coding"
    return None


class _Cutter:
    """Cuts transcripts out of one contig."""

    def __init__(
        self, annotation: Annotation, geometry: Geometry, genome: Genome, contig: str, params: ExtractParams
    ) -> None:
        self.annotation = annotation
        self.geometry = geometry
        self.contig = contig
        self.params = params
        self.codes = np.asarray(genome.codes(contig))
        self.mitochondrial = contig in MITOCHONDRIAL

    def cut(self, numbers: Sequence[int], dropped: Counter[str]) -> Iterator[Transcript]:
        """The transcripts of these numbers in the annotation, but for those that are dropped and counted."""
        rnas = [self._spliced(self.geometry.exons, number) for number in numbers]
        coding = self._read_all(numbers, rnas)
        for number, rna in zip(numbers, rnas, strict=True):
            transcript = self._transcript(number, rna, coding.get(number))
            if transcript is None:
                dropped["window_past_contig_end"] += 1
            else:
                yield transcript

    def _spliced(self, pieces: Pieces, number: int) -> bytes:
        mine = pieces.of(number)
        exons = zip(pieces.start[mine].tolist(), pieces.end[mine].tolist(), strict=True)
        return splice(self.codes, exons, self.annotation.strand[number])

    def _read_all(self, numbers: Sequence[int], rnas: Sequence[bytes]) -> dict[int, Coding]:
        """What is annotated as coding, by number."""
        geometry = self.geometry
        chosen = [
            (number, rna)
            for number, rna in zip(numbers, rnas, strict=True)
            if geometry.cds_start[number] >= 0 and not geometry.outside[number]
        ]
        codes = [
            rna[geometry.cds_start[number] : geometry.cds_end[number]]
            if geometry.contiguous[number]
            else self._spliced(self.annotation.cds, number)
            for number, rna in chosen
        ]
        phases = [int(geometry.phase[number]) for number, _ in chosen]
        code = MITOCHONDRIAL_CODE if self.mitochondrial else STANDARD_CODE
        residues = translate_all([item[phase:] for item, phase in zip(codes, phases, strict=True)], code)
        coding = {}
        for (number, rna), phase, mine, read in zip(chosen, phases, codes, residues, strict=True):
            naming = self.annotation.naming[number]
            coding[number] = read_cds(
                rna,
                (int(geometry.cds_start[number]), int(geometry.cds_end[number])),
                phase,
                mine,
                read,
                selenocysteines=self._selenocysteines(number),
                mitochondrial=self.mitochondrial,
                start_missing="cds_start_NF" in naming.tags,
                segment=naming.transcript_type.startswith(_SEGMENT_TYPES),
            )
        return coding

    def _selenocysteines(self, number: int) -> list[int]:
        mine = self.annotation.selenocysteines.of(number)
        return self.geometry.selenocysteine_offset[mine].tolist() if mine.stop > mine.start else []

    def _transcript(self, number: int, rna: bytes, coding: Coding | None) -> Transcript | None:
        exons = self.geometry.exons.of(number)
        starts, ends = self.geometry.exons.start[exons], self.geometry.exons.end[exons]
        naming, strand = self.annotation.naming[number], self.annotation.strand[number]
        tss = int(starts[0]) if strand == "+" else int(ends[-1]) - 1
        window_start, window_end = window_interval(tss, strand, self.params.window_bp)
        past_end = window_start < 0 or window_end > len(self.codes)
        if past_end and self.params.window_overflow == "drop":
            return None
        status, reasons = "coding", [tag.lower() for tag in _INCOMPLETE if tag in naming.tags]
        if coding is None:
            status, coding = self._without_cds(number, naming.transcript_type, rna, reasons)
        else:
            reasons += self._reasons_of_pieces(number) + list(coding.reasons)
        if CODE_N in rna:
            reasons.append("n_in_rna")
        if past_end:
            reasons.append("window_past_contig_end")
        if naming.transcript_id.endswith("_PAR_Y") or naming.transcript_id.startswith("ENSTR"):
            reasons.append("par_y")
        if self.geometry.exons_from_cds[number]:
            reasons.append("exons_from_cds")
        return Transcript(
            number=number,
            transcript_id=naming.transcript_id,
            gene_id=naming.gene_id,
            gene_name=naming.gene_name,
            gene_type=naming.gene_type,
            transcript_type=naming.transcript_type,
            contig=self.contig,
            strand=strand,
            tss=tss,
            window_start=window_start,
            window_end=window_end,
            exon_starts=starts,
            exon_ends=ends,
            rna=letters_of_bytes(rna),
            cds_start=coding.cds_start if coding else -1,
            cds_end=coding.cds_end if coding else -1,
            cds_phase=coding.phase if coding else -1,
            protein=(coding.protein or None) if coding else None,
            coding_status=status,
            tags=naming.tags,
            reasons=reasons,
        )

    def _reasons_of_pieces(self, number: int) -> list[str]:
        reasons = [] if self.geometry.contiguous[number] else ["ribosomal_slippage"]
        return reasons if self.geometry.in_frame[number] else [*reasons, "frames_disagree"]

    def _without_cds(
        self, number: int, transcript_type: str, rna: bytes, reasons: list[str]
    ) -> tuple[str, Coding | None]:
        """Coding status, and the frame that is called where that is asked for."""
        if self.geometry.cds_start[number] >= 0:
            reasons.append("cds_outside_exons")
            return "unknown", None
        if transcript_type not in _UNDECIDED_TYPES:
            return "non_coding", None
        coding = None
        if self.params.min_orf_residues is not None:
            codes = np.frombuffer(rna, dtype=np.uint8)
            coding = longest_orf(codes, self.params.min_orf_residues, self.mitochondrial)
        if coding is not None:
            reasons.append("orf_predicted")
        return "unknown", coding
