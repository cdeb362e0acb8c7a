"""What a sequence variant does to one transcript: its DNA window, its RNA, its protein. numpy only.

Coordinates are 0-based, half-open, on the forward strand; offsets count bases of the spliced RNA in sense direction.
Consequences are terms of the Sequence Ontology, named as Ensembl VEP names them (McLaren et al. 2016).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from components.sequences import (
    MITOCHONDRIAL_CODE,
    STANDARD_CODE,
    Genome,
    letters_of,
    letters_of_bytes,
    reverse_complement,
    splice,
    translate,
)
from model.errors import InputError
from model.tokenizers import dna_codes

SPLICING_NOT_MODELLED = "splicing_not_modelled"
PROTEIN_NOT_RETRANSLATED = "protein_not_retranslated"
TRANSCRIPT_END_NOT_MODELLED = "transcript_end_not_modelled"
MAX_ALLELE_BP = 10_000
_VARIANT = re.compile(r"([^:\s]{1,100}):([0-9,]{1,15}):([ACGTacgt]*|-):([ACGTacgt]*|-)")
# Sequence Ontology: a splice site is the two intronic bases, its region 3 exonic and 8 intronic bases.
_SITE_BP = 2
_REGION_EXONIC_BP, _REGION_INTRONIC_BP = 3, 8
_CODON = 3


@dataclass(frozen=True, kw_only=True)
class Variant:
    """`reference` letters from 0-based `start` of `contig` become `alternative` (forward strand, maybe empty)."""

    contig: str
    start: int
    reference: str
    alternative: str

    @property
    def end(self) -> int:
        """One past the last reference base; equals `start` for an insertion, which stands before it."""
        return self.start + len(self.reference)


@dataclass(frozen=True, kw_only=True)
class Locus:
    """Where one transcript lies: fields as in transcripts.parquet, `exons` ascending.

    `cds`: offsets in the RNA without the stop codon, None where there is none; `phase` bases of it come before its
    first whole codon. `complete_start`: the CDS begins with its start codon.
    """

    contig: str
    strand: str
    tss: int
    window: tuple[int, int]
    exons: tuple[tuple[int, int], ...]
    cds: tuple[int, int] | None
    phase: int
    protein: str | None
    mitochondrial: bool
    complete_start: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Edited:
    """A transcript with the variant in it, and what the variant is to it.

    `dna`: codes uint8 (window_bp,), TSS in the middle. `caveats`: what this project does not model of the change.
    """

    dna: np.ndarray
    rna: str
    protein: str | None
    consequences: tuple[str, ...]
    caveats: tuple[str, ...]


def parse_variant(text: str) -> Variant:
    """A variant written as `chrom:pos:ref:alt`, position 1-based as in VCF, `-` for no bases.

    Bases that both alleles share at their ends are trimmed, first at the right. Raises `InputError`.
    """
    match = _VARIANT.fullmatch(text.strip())
    reference, alternative = (match[part].replace("-", "").upper() for part in (3, 4)) if match else ("", "")
    position = int(match[2].replace(",", "") or 0) if match else 0
    if not match or position < 1 or reference == alternative or max(len(reference), len(alternative)) > MAX_ALLELE_BP:
        raise InputError(
            where=f"variant {text[:60]!r}",
            expected=f"chrom:pos:ref:alt, two different alleles of A, C, G, T, at most {MAX_ALLELE_BP:,} bases each",
            found="something else",
            fix="Write for example chr19:1000:A:G, the position counted from 1.",
        )
    start = position - 1
    while reference and alternative and reference[-1] == alternative[-1]:
        reference, alternative = reference[:-1], alternative[:-1]
    while reference and alternative and reference[0] == alternative[0]:
        reference, alternative, start = reference[1:], alternative[1:], start + 1
    return Variant(contig=match[1], start=start, reference=reference, alternative=alternative)


def apply_variant(genome: Genome, locus: Locus, variant: Variant) -> Edited:
    """The transcript of `locus` with `variant` in it.

    A change within one exon edits RNA and protein; one that touches a splice site or leaves the exon edits the DNA
    window alone. Indels move the window's far ends, never the TSS. Raises `InputError` where contig or reference bases
    are not the genome's.
    """
    contig = _contig(genome, variant)
    found = letters_of(genome.window(contig, variant.start, variant.end, "+"))
    if contig != locus.contig or found != variant.reference or variant.end > genome.length(contig):
        raise InputError(
            where=f"variant at {variant.contig}:{variant.start + 1:,}",
            expected=f"a variant on {locus.contig} whose reference bases are the genome's"
            if contig != locus.contig
            else f"the genome's {found[:20]!r} as reference bases",
            found=f"contig {contig}" if contig != locus.contig else repr(variant.reference[:20]),
            fix="Use coordinates and alleles of the forward strand of the mounted genome.",
        )
    dna = _edited_window(genome, locus, variant)
    rna = letters_of_bytes(splice(np.asarray(genome.codes(contig)), locus.exons, locus.strand))
    exon = _exon_of(locus, variant)
    sites = _splice_sites(locus, variant)
    if sites or exon is None:
        terms, caveats = _outside_exons(locus, variant, sites)
        return Edited(dna=dna, rna=rna, protein=locus.protein, consequences=terms, caveats=caveats)
    first, last, inserted = _offsets(locus, variant, exon)
    edited = rna[:first] + inserted + rna[last:]
    protein, terms, caveats = _retranslated(locus, rna, edited, first, last, len(inserted))
    if _near_junction(locus, variant, exon):
        terms, caveats = (*terms, "splice_region_variant"), (*caveats, SPLICING_NOT_MODELLED)
    return Edited(dna=dna, rna=edited, protein=protein, consequences=terms, caveats=caveats)


def _contig(genome: Genome, variant: Variant) -> str:
    """The genome's name of the variant's contig, with or without `chr`."""
    for name in (variant.contig, f"chr{variant.contig}", variant.contig.removeprefix("chr")):
        if name in genome:
            return name
    raise InputError(
        where=f"variant at {variant.contig}:{variant.start + 1:,}",
        expected="a contig of the mounted genome",
        found=repr(variant.contig),
        fix="Use the genome's names of contigs.",
    )


def _edited_window(genome: Genome, locus: Locus, variant: Variant) -> np.ndarray:
    start, end = locus.window
    if variant.end < start or variant.start > end:
        return genome.window(locus.contig, start, end, locus.strand)
    # So much more on both sides that what a deletion draws in is there.
    reach = len(variant.reference)
    low = start - reach
    forward = genome.window(locus.contig, low, end + reach, "+")
    edited = np.concatenate(
        [forward[: variant.start - low], dna_codes(variant.alternative), forward[variant.end - low :]]
    )
    upstream = (end - start) // 2
    tss = _moved_tss(locus, variant) - low
    first = tss - upstream if locus.strand == "+" else tss - (end - start - 1 - upstream)
    window = edited[first : first + end - start]
    return window.copy() if locus.strand == "+" else reverse_complement(window)


def _moved_tss(locus: Locus, variant: Variant) -> int:
    """Where the TSS base stands after the edit; where it is deleted, the next base of the transcript."""
    if locus.tss < variant.start:
        return locus.tss
    if locus.tss >= variant.end:
        return locus.tss + len(variant.alternative) - len(variant.reference)
    if locus.strand == "+":
        return variant.start + min(locus.tss - variant.start, len(variant.alternative))
    from_right = variant.end - 1 - locus.tss
    return variant.start + max(len(variant.alternative) - 1 - from_right, -1)


def _exon_of(locus: Locus, variant: Variant) -> tuple[int, int] | None:
    """The exon that holds the whole change; an insertion at an exon's very edge is in none."""
    for start, end in locus.exons:
        inside = start < variant.start < end if not variant.reference else start <= variant.start
        if inside and variant.end <= end:
            return start, end
    return None


def _introns(locus: Locus) -> list[tuple[int, int]]:
    return [(left[1], right[0]) for left, right in zip(locus.exons[:-1], locus.exons[1:], strict=True)]


def _touches(variant: Variant, start: int, end: int) -> bool:
    """Whether the change replaces a base of [start, end), or inserts within or at its edge."""
    if variant.reference:
        return variant.start < end and variant.end > start
    return start <= variant.start <= end


def _splice_sites(locus: Locus, variant: Variant) -> tuple[str, ...]:
    left, right = ("donor", "acceptor") if locus.strand == "+" else ("acceptor", "donor")
    found = set()
    for start, end in _introns(locus):
        # An insertion at the intronic edge of the site leaves both its bases beside the exon.
        if _touches(variant, start, start + _SITE_BP) and (variant.reference or variant.start < start + _SITE_BP):
            found.add(f"splice_{left}_variant")
        if _touches(variant, end - _SITE_BP, end) and (variant.reference or variant.start > end - _SITE_BP):
            found.add(f"splice_{right}_variant")
    return tuple(sorted(found))


def _outside_exons(locus: Locus, variant: Variant, sites: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Consequences and caveats of a change that leaves RNA and protein as they are."""
    if sites:
        return sites, (SPLICING_NOT_MODELLED,)
    start, end = locus.exons[0][0], locus.exons[-1][1]
    if variant.end <= start or variant.start >= end:
        before = (variant.end <= start) == (locus.strand == "+")
        return ("upstream_gene_variant" if before else "downstream_gene_variant",), ()
    if variant.start < start or variant.end > end:
        return ("coding_transcript_variant" if locus.cds else "non_coding_transcript_variant",), (
            TRANSCRIPT_END_NOT_MODELLED,
        )
    near = any(
        _touches(variant, left, left + _REGION_INTRONIC_BP) or _touches(variant, right - _REGION_INTRONIC_BP, right)
        for left, right in _introns(locus)
    )
    return (
        ("splice_region_variant", "intron_variant") if near else ("intron_variant",),
        (SPLICING_NOT_MODELLED,) if near else (),
    )


def _near_junction(locus: Locus, variant: Variant, exon: tuple[int, int]) -> bool:
    start, end = exon
    inner_start, inner_end = start > locus.exons[0][0], end < locus.exons[-1][1]
    return (inner_start and _touches(variant, start, start + _REGION_EXONIC_BP)) or (
        inner_end and _touches(variant, end - _REGION_EXONIC_BP, end)
    )


def _offsets(locus: Locus, variant: Variant, exon: tuple[int, int]) -> tuple[int, int, str]:
    """Offsets [first, last) of the RNA that are replaced, and the bases that come in, in sense direction."""
    before = sum(end - start for start, end in locus.exons if end <= exon[0])
    first = before + variant.start - exon[0]
    last = first + len(variant.reference)
    if locus.strand == "+":
        return first, last, variant.alternative
    length = sum(end - start for start, end in locus.exons)
    return length - last, length - first, letters_of(reverse_complement(dna_codes(variant.alternative)))


def _retranslated(
    locus: Locus, rna: str, edited: str, first: int, last: int, inserted: int
) -> tuple[str | None, tuple[str, ...], tuple[str, ...]]:
    """Protein, consequences and caveats of replacing offsets [first, last) by `inserted` bases.

    Residues before and, where the frame holds, after the changed codons stay as annotated (selenocysteine, non-ATG
    starts); the changed ones are translated, and after a shift of the frame or a lost stop all up to the next stop.
    """
    if locus.cds is None or locus.protein is None:
        return locus.protein, ("non_coding_transcript_exon_variant",), ()
    code = MITOCHONDRIAL_CODE if locus.mitochondrial else STANDARD_CODE
    start, end = locus.cds[0] + locus.phase, locus.cds[1]
    codons = len(locus.protein)
    has_stop = translate(dna_codes(rna[end : end + _CODON]), code) == "*"
    is_insertion = first == last
    if last <= start or (is_insertion and first <= start):
        return locus.protein, ("5_prime_UTR_variant",), ()
    if first >= (end + _CODON if has_stop else end):
        return locus.protein, ("3_prime_UTR_variant",), ()
    if not _reads(locus.protein, translate(dna_codes(rna[start:end]), code)):
        return locus.protein, ("coding_sequence_variant",), (PROTEIN_NOT_RETRANSLATED,)
    if first < start or (locus.complete_start and first < start + _CODON and _start_codon_lost(rna, edited, start)):
        return None, ("start_lost",), ()
    if not has_stop and first >= start + _CODON * codons:
        return locus.protein, ("incomplete_terminal_codon_variant",), ()
    shift = inserted - (last - first)
    # Codons [changed, kept) of the old frame are read anew; an insertion between two codons changes none of them.
    changed, kept = (first - start) // _CODON, -(-(last - start) // _CODON)
    head, new = locus.protein[:changed], translate(dna_codes(edited[start + _CODON * changed :]), code)
    stop = new.find("*")
    to_stop = new if stop < 0 else new[:stop]
    if shift % _CODON:
        return head + to_stop, ("frameshift_variant",), ()
    count = kept - changed + shift // _CODON
    if 0 <= stop < count and not (has_stop and kept > codons and stop == count - 1):
        return head + to_stop, ("stop_gained",), ()
    if has_stop and kept > codons:
        term = "stop_retained_variant" if stop == count - 1 else "stop_lost"
        return head + to_stop, (term,), ()
    protein = head + new[:count] + locus.protein[kept:]
    if shift:
        return protein, ("inframe_insertion" if shift > 0 else "inframe_deletion",), ()
    return protein, ("synonymous_variant" if protein == locus.protein else "missense_variant",), ()


def _start_codon_lost(rna: str, edited: str, start: int) -> bool:
    return edited[start : start + _CODON] != rna[start : start + _CODON]


def _reads(protein: str, translated: str) -> bool:
    """Whether a translation is the annotated protein but for selenocysteines, the first residue, and open residues."""
    return len(protein) == len(translated) and all(
        ours == theirs or index == 0 or "*X".find(theirs) >= 0
        for index, (ours, theirs) in enumerate(zip(protein, translated, strict=True))
    )
