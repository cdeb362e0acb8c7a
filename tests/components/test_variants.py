"""A variant applied to a transcript equals the transcript cut out of a genome that holds the variant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from Bio.Seq import Seq
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from components.sequences import Genome, letters_of
from components.variants import (
    PROTEIN_NOT_RETRANSLATED,
    SPLICING_NOT_MODELLED,
    Locus,
    Variant,
    apply_variant,
    parse_variant,
)
from model.errors import InputError
from model.tokenizers import dna_codes

WINDOW_BP = 40
# 5' UTR of 6, ATG GCC TTT AAA GGG TGA TAA-less reading, 3' UTR with another stop in every frame.
RNA = "CCACCC" + "ATGGCCTTTAAAGGGCTG" + "TGA" + "CCCTAACTAACTAAGG"
CDS = (6, 24)
PROTEIN = "MAFKGL"
SPLIT = 17  # length of the first exon in sense direction
INTRON = "GTAAGTCCCCCCTTTTTTCCCCTTTCAG"


def locus_of(strand: str) -> tuple[Genome, Locus, str]:
    """A two-exon transcript on either strand between random flanks, its genome, and the forward letters."""
    rng = np.random.default_rng(3)
    flank = ["".join(rng.choice(list("ACGT"), 60)) for _ in range(2)]
    gene = RNA[:SPLIT] + INTRON + RNA[SPLIT:]
    forward = flank[0] + (gene if strand == "+" else str(Seq(gene).reverse_complement())) + flank[1]
    first, second, whole = SPLIT, len(RNA) - SPLIT, len(gene)
    if strand == "+":
        exons = ((60, 60 + first), (60 + whole - second, 60 + whole))
        tss = 60
    else:
        exons = ((60, 60 + second), (60 + whole - first, 60 + whole))
        tss = 60 + whole - 1
    return Genome(dna_codes(forward), {"chr1": (0, len(forward))}), _locus(strand, exons, tss), forward


def _locus(strand: str, exons: tuple[tuple[int, int], ...], tss: int) -> Locus:
    start = tss - WINDOW_BP // 2 if strand == "+" else tss - (WINDOW_BP - 1 - WINDOW_BP // 2)
    return Locus(
        contig="chr1",
        strand=strand,
        tss=tss,
        window=(start, start + WINDOW_BP),
        exons=exons,
        cds=CDS,
        phase=0,
        protein=PROTEIN,
        mitochondrial=False,
        complete_start=True,
    )


def mutated(forward: str, variant: Variant, exons: tuple[tuple[int, int], ...], strand: str) -> tuple[str, str]:
    """Forward letters with the variant, and the RNA spliced from them with Biopython, exon ends moved along."""
    letters = forward[: variant.start] + variant.alternative + forward[variant.end :]
    shift = len(variant.alternative) - len(variant.reference)

    def moved(position: int) -> int:
        return position + shift if position >= variant.end else position

    # An end that the change touches from within moves with it.
    pieces = [letters[moved(start) if start > variant.start else start : moved(end)] for start, end in exons]
    rna = Seq("".join(pieces))
    return letters, str(rna if strand == "+" else rna.reverse_complement())


def scanned(rna: str) -> str:
    """The protein from the first ATG at the annotated start, by Biopython."""
    coding = rna[CDS[0] :]
    return str(Seq(coding[: len(coding) - len(coding) % 3]).translate(to_stop=True))


@settings(max_examples=400, deadline=None)
@given(st.data(), st.sampled_from("+-"), st.integers(0, 6), st.text("ACGT", max_size=6))
def test_an_exonic_change_equals_splicing_and_translating_the_changed_genome(
    data: st.DataObject, strand: str, length: int, alternative: str
) -> None:
    genome, locus, forward = locus_of(strand)
    start, end = data.draw(st.sampled_from(locus.exons))
    first = data.draw(st.integers(start + (length == 0), end - max(length, 1)))
    reference = forward[first : first + length]
    assume(reference != alternative)
    variant = parse_variant(f"chr1:{first + 1}:{reference}:{alternative}")
    # Trimming may move an insertion to an exon's edge, where it is no longer of the exon.
    assume(any(left < variant.start < right for left, right in locus.exons))
    edited = apply_variant(genome, locus, variant)
    _, rna = mutated(forward, variant, locus.exons, strand)
    assert edited.rna == rna
    touched = {"5_prime_UTR_variant", "3_prime_UTR_variant", "start_lost"}
    if edited.consequences[0] == "start_lost":
        assert edited.protein is None
    elif edited.consequences[0] in touched:
        assert edited.protein == PROTEIN
    else:
        assert edited.protein == scanned(rna), edited.consequences


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from("+-"), st.integers(0, 12), st.text("ACGT", max_size=12))
def test_the_window_is_cut_from_the_changed_genome_with_the_tss_in_its_middle(
    data: st.DataObject, strand: str, length: int, alternative: str
) -> None:
    genome, locus, forward = locus_of(strand)
    first = data.draw(st.integers(0, len(forward) - length))
    reference = forward[first : first + length]
    assume(reference != alternative)
    variant = parse_variant(f"1:{first + 1}:{reference}:{alternative}")
    assume(not variant.start <= locus.tss < variant.end)  # the next test's case
    window = letters_of(apply_variant(genome, locus, variant).dna)
    letters = forward[: variant.start] + variant.alternative + forward[variant.end :]
    tss = locus.tss + (len(alternative) - length if locus.tss >= variant.end else 0)
    sense = letters if strand == "+" else str(Seq(letters).reverse_complement())
    place = tss if strand == "+" else len(letters) - 1 - tss
    padded = "N" * WINDOW_BP + sense + "N" * WINDOW_BP
    expected = padded[place + WINDOW_BP // 2 : place + WINDOW_BP // 2 + WINDOW_BP]
    assert window == expected


@pytest.mark.parametrize("strand", "+-")
def test_where_the_tss_base_is_deleted_the_next_base_of_the_transcript_takes_its_place(strand: str) -> None:
    genome, locus, forward = locus_of(strand)
    first = locus.tss - 1
    variant = parse_variant(f"chr1:{first + 1}:{forward[first : first + 3]}:-")
    letters = forward[:first] + forward[first + 3 :]
    sense = letters if strand == "+" else str(Seq(letters).reverse_complement())
    at = sense.index(RNA[2:SPLIT])
    expected = sense[at - WINDOW_BP // 2 : at + WINDOW_BP // 2]
    assert letters_of(apply_variant(genome, locus, variant).dna) == expected


def at_offset(locus: Locus, offset: int, reference: str, alternative: str) -> Variant:
    """A variant given in sense direction at an offset of the RNA."""
    if locus.strand == "+":
        start, end = locus.exons[0]
        place = start + offset if offset < end - start else locus.exons[1][0] + offset - (end - start)
        return Variant(contig="chr1", start=place, reference=reference, alternative=alternative)
    start, end = locus.exons[1]
    place = end - 1 - offset if offset < end - start else locus.exons[0][1] - 1 - (offset - (end - start))
    flipped = [str(Seq(letters).reverse_complement()) for letters in (reference, alternative)]
    shift = len(reference) - 1
    return Variant(contig="chr1", start=place - shift, reference=flipped[0], alternative=flipped[1])


@pytest.mark.parametrize("strand", "+-")
@pytest.mark.parametrize(
    ("offset", "reference", "alternative", "consequence", "protein"),
    [
        (9, "G", "A", "missense_variant", "MTFKGL"),
        (11, "C", "T", "synonymous_variant", PROTEIN),
        (21, "CTG", "TAG", "stop_gained", "MAFKG"),
        (24, "T", "C", "stop_lost", "MAFKGLRP"),
        (26, "A", "G", "stop_lost", "MAFKGLWP"),
        (25, "GA", "AG", "stop_retained_variant", PROTEIN),
        (6, "A", "C", "start_lost", None),
        (12, "TTT", "", "inframe_deletion", "MAKGL"),
        (12, "T", "", "frameshift_variant", "MALKGCDPN"),
        (10, "C", "CT", "frameshift_variant", "MAL"),
        (2, "A", "G", "5_prime_UTR_variant", PROTEIN),
        (30, "T", "G", "3_prime_UTR_variant", PROTEIN),
    ],
)
def test_consequences_on_both_strands(
    strand: str, offset: int, reference: str, alternative: str, consequence: str, protein: str | None
) -> None:
    genome, locus, _ = locus_of(strand)
    edited = apply_variant(genome, locus, at_offset(locus, offset, reference, alternative))
    assert edited.consequences[0] == consequence
    assert edited.protein == protein


@pytest.mark.parametrize("strand", "+-")
def test_splice_sites_edit_the_dna_alone_and_say_so(strand: str) -> None:
    genome, locus, forward = locus_of(strand)
    intron = locus.exons[0][1], locus.exons[1][0]
    names = ("splice_donor_variant", "splice_acceptor_variant")
    for position, name in zip((intron[0], intron[1] - 1), names if strand == "+" else names[::-1], strict=True):
        other = "A" if forward[position] != "A" else "C"
        edited = apply_variant(genome, locus, parse_variant(f"chr1:{position + 1}:{forward[position]}:{other}"))
        assert edited.consequences == (name,)
        assert edited.caveats == (SPLICING_NOT_MODELLED,)
        assert (edited.rna, edited.protein) == (RNA, PROTEIN)
    for position, terms in (
        (intron[0] + 4, ("splice_region_variant", "intron_variant")),
        (intron[0] + 13, ("intron_variant",)),
        (10, ("upstream_gene_variant",) if strand == "+" else ("downstream_gene_variant",)),
    ):
        other = "A" if forward[position] != "A" else "C"
        edited = apply_variant(genome, locus, parse_variant(f"chr1:{position + 1}:{forward[position]}:{other}"))
        assert edited.consequences == terms
        assert edited.rna == RNA
    near = locus.exons[0][1] - 1
    edited = apply_variant(
        genome, locus, parse_variant(f"chr1:{near + 1}:{forward[near]}:{'A' if forward[near] != 'A' else 'C'}")
    )
    assert "splice_region_variant" in edited.consequences
    assert edited.rna != RNA


def test_an_annotated_selenocysteine_and_a_kept_frame_survive_a_change_elsewhere() -> None:
    genome, locus, _ = locus_of("+")
    # The fifth codon, GGG in the second exon, becomes TGA.
    place = locus.exons[1][0] + CDS[0] + 12 - SPLIT
    letters = letters_of(genome.codes("chr1"))
    forward = letters[:place] + "TGA" + letters[place + 3 :]
    genome = Genome(dna_codes(forward), {"chr1": (0, len(forward))})
    rna = "".join(forward[start:end] for start, end in locus.exons)
    protein = str(Seq(rna[CDS[0] : CDS[1]]).translate()).replace("*", "U")
    changed = apply_variant(genome, replace(locus, protein=protein), parse_variant(f"chr1:{60 + 10}:{rna[9]}:A"))
    assert changed.protein is not None
    assert "U" in protein
    assert changed.protein[2:] == protein[2:]
    assert changed.protein[1] == "T"


def test_a_protein_that_its_rna_does_not_spell_is_not_retranslated() -> None:
    genome, locus, _ = locus_of("+")
    edited = apply_variant(genome, replace(locus, protein="MWWWWW"), at_offset(locus, 9, "G", "A"))
    assert edited.protein == "MWWWWW"
    assert edited.caveats == (PROTEIN_NOT_RETRANSLATED,)


@pytest.mark.parametrize(
    "text", ["", "chr1", "chr1:0:A:C", "chr1:5:A:A", "chr1:5:A:<DEL>", "chr1:5:A:C,G", "chr1:x:A:C", "a:1:A:N", "1:5::"]
)
def test_what_is_no_variant_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="chrom:pos:ref:alt"):
        parse_variant(text)


def test_reference_bases_and_contigs_are_checked() -> None:
    genome, locus, forward = locus_of("+")
    wrong = "A" if forward[69] != "A" else "C"
    with pytest.raises(InputError, match="reference bases"):
        apply_variant(genome, locus, parse_variant(f"chr1:70:{wrong}:{forward[69]}"))
    with pytest.raises(InputError, match="a contig of the mounted genome"):
        apply_variant(genome, locus, parse_variant("chr7:70:A:C"))
    with pytest.raises(InputError, match="reference bases"):
        apply_variant(genome, locus, parse_variant("chr1:100000:A:C"))
