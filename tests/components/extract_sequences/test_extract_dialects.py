"""The traps of annotation dialects, each on a miniature gene written by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from small_files import gtf_row

from components.extract_sequences.transcripts import Extraction, Transcript
from components.sections import ExtractParams
from components.sequences import reverse_complement
from model.tokenizers import dna_codes, dna_string

Extracted = Callable[..., dict[str, Transcript]]

# Two exons, 5-22 and 31-45 (1-based); CDS from 8; the RNA is CCG ATGGCTTGATGTAAA … with a stop at its end.
LEFT = "CCG" + "ATGGCTTGATGTAAA"
RIGHT = "GCTGCATAA" + "CCCCCC"
CONTIG = "TTTT" + LEFT + "gtaaacag" + RIGHT + "TTTT"
NAMES = 'gene_id "G1"; transcript_id "T1"; gene_type "protein_coding"; transcript_type "protein_coding";'


def exons(attributes: str) -> str:
    """Its exon rows."""
    return gtf_row("exon", 5, 22, attributes) + gtf_row("exon", 31, 45, attributes)


def test_selenocysteine_is_u_and_an_unmarked_uga_is_a_stop(extracted: Extracted) -> None:
    """UGA is read as U exactly where the annotation has a Selenocysteine row."""
    cds = gtf_row("CDS", 8, 22, NAMES, frame="0") + gtf_row("CDS", 31, 36, NAMES, frame="0")
    plain = extracted(exons(NAMES) + cds, {"chr1": CONTIG})["T1"]
    assert plain.protein == "MA*CKAA"
    assert plain.reasons == ["internal_stop"]
    marked = extracted(exons(NAMES) + cds + gtf_row("Selenocysteine", 14, 16, NAMES), {"chr1": CONTIG})["T1"]
    assert marked.protein == "MAUCKAA"
    assert marked.reasons == ["selenocysteine"]


def test_selenocysteine_of_refseq_stands_in_an_attribute_of_the_cds(extracted: Extracted) -> None:
    """transl_except=(pos:14..16,aa:Sec), percent-encoded in GFF3, on both rows of the CDS."""
    recoded = "Parent=rna-T1;transl_except=(pos:14..16%2Caa:Sec)"
    text = "##gff-version 3\n" + gtf_row("gene", 5, 45, "ID=gene-G1;Name=G1;gene_biotype=protein_coding")
    text += gtf_row("mRNA", 5, 45, "ID=rna-T1;Parent=gene-G1;gene=G1;transcript_id=NM_1.2")
    text += (
        exons("Parent=rna-T1") + gtf_row("CDS", 8, 22, recoded, frame="0") + gtf_row("CDS", 31, 39, recoded, frame="0")
    )
    found = extracted(text, {"chr1": CONTIG})["NM_1.2"]
    assert found.protein == "MAUCKAA"
    assert (found.gene_id, found.gene_name, found.gene_type, found.transcript_type) == (
        "G1",
        "G1",
        "protein_coding",
        "mRNA",
    )


@pytest.mark.parametrize("stop_in_cds", [False, True])
def test_stop_codon_counts_into_the_cds_or_not_with_one_result(extracted: Extracted, stop_in_cds: bool) -> None:
    """GTF leaves it out, GFF3 and some assemblers' GTF take it in."""
    cds = gtf_row("CDS", 8, 22, NAMES, frame="0") + gtf_row("CDS", 31, 39 if stop_in_cds else 36, NAMES, frame="0")
    found = extracted(exons(NAMES) + cds, {"chr1": CONTIG})["T1"]
    assert (found.cds_start, found.cds_end, found.cds_phase) == (3, 24, 0)
    assert found.rna[found.cds_end : found.cds_end + 3] == "TAA"


def test_phase_of_a_cds_without_its_start_shifts_the_frame(extracted: Extracted) -> None:
    """The bases before the first whole codon are skipped, on both strands."""
    tagged = NAMES + ' tag "cds_start_NF"; tag "mRNA_start_NF";'
    found = extracted(
        gtf_row("exon", 1, 12, tagged) + gtf_row("CDS", 1, 12, tagged, frame="2"), {"chr1": "GGGCTTGTAAAA"}
    )
    assert found["T1"].protein == "ACK"
    assert found["T1"].reasons == ["cds_start_nf", "mrna_start_nf", "partial_last_codon", "phase_skipped"]
    minus = gtf_row("exon", 1, 12, tagged, strand="-") + gtf_row("CDS", 1, 12, tagged, strand="-", frame="2")
    flipped = dna_string(reverse_complement(dna_codes("GGGCTTGTAAAA")))
    assert extracted(minus, {"chr1": flipped})["T1"].protein == "ACK"


def test_both_ends_incomplete_is_translated_as_far_as_it_goes(extracted: Extracted) -> None:
    """Neither start nor stop is invented or required."""
    tagged = NAMES + ' tag "cds_start_NF"; tag "cds_end_NF";'
    found = extracted(
        gtf_row("exon", 1, 11, tagged) + gtf_row("CDS", 1, 11, tagged, frame="1"), {"chr1": "GGCTTGTAAAA"}
    )
    assert found["T1"].protein == "ACK"
    assert (found["T1"].cds_start, found["T1"].cds_end, found["T1"].cds_phase) == (0, 11, 1)
    assert found["T1"].reasons == ["cds_start_nf", "cds_end_nf", "partial_last_codon", "phase_skipped"]


@pytest.mark.parametrize(("contig", "protein"), [("chrM", "MWM"), ("MT", "MWM"), ("chr1", "MWI")])
def test_mitochondrial_contigs_have_their_own_code(extracted: Extracted, contig: str, protein: str) -> None:
    """TGA is W and ATA is M on chrM alone; a stop may be completed by the tail."""
    letters = "ATG" + ("TGA" if contig != "chr1" else "TGG") + "ATA" + "TA"
    text = (gtf_row("exon", 1, 11, NAMES) + gtf_row("CDS", 1, 11, NAMES, frame="0")).replace("chr1\t", f"{contig}\t")
    found = extracted(text, {contig: letters})["T1"]
    assert found.protein == protein
    ending = "stop_completed_by_polyadenylation" if contig != "chr1" else "partial_last_codon"
    assert ending in found.reasons


def test_start_other_than_atg_makes_methionine_and_is_marked(extracted: Extracted) -> None:
    """A near-cognate start codon behind a leader is read by the initiator; AAC is no start and stays."""
    for codon, protein in (("CTG", "MA"), ("AAC", "NA")):
        text = gtf_row("exon", 1, 12, NAMES) + gtf_row("CDS", 4, 9, NAMES, frame="0")
        found = extracted(text, {"chr1": "CCC" + codon + "GCTTAA"})["T1"]
        assert (found.protein, found.reasons) == (protein, ["non_atg_start"])


def test_unknown_bases_become_x_where_the_residue_is_open(extracted: Extracted) -> None:
    """GCN is alanine whatever N is; NNN is X; soft-masked bases are bases."""
    text = gtf_row("exon", 1, 15, NAMES) + gtf_row("CDS", 1, 12, NAMES, frame="0")
    found = extracted(text, {"chr1": "atgGCNNNNaartaa"})["T1"]
    assert found.protein == "MAXX"
    assert found.rna == "ATGGCNNNNAANTAA"
    assert "n_in_rna" in found.reasons


def test_window_past_the_contig_is_padded_or_dropped_with_a_count(extraction: Callable[..., Extraction]) -> None:
    """The interval keeps its length; what it means is counted."""
    text = gtf_row("exon", 2, 9, NAMES)
    found = extraction(text, {"chr1": "ACGTACGTAC"}, ExtractParams(window_bp=8)).transcripts[0]
    assert (found.tss, found.window_start, found.window_end) == (1, -3, 5)
    assert "window_past_contig_end" in found.reasons
    dropped = extraction(text, {"chr1": "ACGTACGTAC"}, ExtractParams(window_bp=8, window_overflow="drop"))
    assert not dropped.transcripts
    assert dropped.dropped == {"window_past_contig_end": 1}


@pytest.mark.parametrize(
    ("in_annotation", "in_genome"),
    [("1", "chr1"), ("chr1", "1"), ("MT", "chrM"), ("NC_000001.11", "chr1"), ("NC_000023.11", "X")],
)
def test_contigs_are_found_under_their_other_names(
    extraction: Callable[..., Extraction], in_annotation: str, in_genome: str
) -> None:
    """With or without chr, MT or chrM, RefSeq accessions; the renaming is told."""
    found = extraction(gtf_row("exon", 1, 4, NAMES).replace("chr1\t", f"{in_annotation}\t"), {in_genome: "ACGTACGT"})
    assert [item.contig for item in found.transcripts] == [in_genome]
    assert found.renamed_contigs == {in_annotation: in_genome}


def test_contig_that_the_genome_lacks_is_counted(extraction: Callable[..., Extraction]) -> None:
    """Transcripts of scaffolds are left out, not silently."""
    other = gtf_row("exon", 1, 4, NAMES.replace("T1", "T2")).replace("chr1\t", "scaffold_9\t")
    found = extraction(gtf_row("exon", 1, 4, NAMES) + other, {"chr1": "ACGTACGT"})
    assert [item.transcript_id for item in found.transcripts] == ["T1"]
    assert found.dropped == {"contig_not_in_genome": 1}


def test_ensembl_writes_versions_and_biotypes_in_attributes_of_their_own(extracted: Extracted) -> None:
    """transcript_version and gene_biotype in GTF; version, biotype and prefixed IDs in GFF3."""
    gtf = (
        'gene_id "ENSG1"; gene_version "7"; transcript_id "ENST1"; transcript_version "3"; gene_name "ABC"; '
        'gene_biotype "lncRNA"; transcript_biotype "retained_intron"; tag "basic";'
    )
    one = extracted(gtf_row("exon", 1, 4, gtf), {"chr1": "ACGTACGT"})["ENST1.3"]
    gff3 = "##gff-version 3\n"
    gff3 += gtf_row("ncRNA_gene", 1, 4, "ID=gene:ENSG1;Name=ABC;biotype=lncRNA;gene_id=ENSG1;version=7")
    gff3 += gtf_row(
        "lnc_RNA",
        1,
        4,
        "ID=transcript:ENST1;Parent=gene:ENSG1;biotype=retained_intron;tag=basic;transcript_id=ENST1;version=3",
    )
    gff3 += gtf_row("exon", 1, 4, "Parent=transcript:ENST1;Name=ENSE1;version=1")
    two = extracted(gff3, {"chr1": "ACGTACGT"})["ENST1.3"]
    for item in (one, two):
        assert (item.gene_id, item.gene_name) == ("ENSG1.7", "ABC")
        assert (item.gene_type, item.transcript_type, item.tags) == ("lncRNA", "retained_intron", ("basic",))
        assert item.coding_status == "non_coding"


def test_exon_of_several_parents_belongs_to_each(extracted: Extracted) -> None:
    """As GFF3 allows."""
    text = "##gff-version 3\n" + gtf_row("exon", 1, 4, "Parent=A,B") + gtf_row("exon", 6, 8, "Parent=B")
    found = extracted(text, {"chr1": "ACGTACGT"})
    assert {name: item.rna for name, item in found.items()} == {"A": "ACGT", "B": "ACGTCGT"}


def test_copies_on_the_pseudoautosomal_region_are_apart(extracted: Extracted) -> None:
    """GENCODE marks the copy on Y in its id; RefSeq gives it an ID but no name, and gets one from the ID."""
    x, y = NAMES, NAMES.replace("T1", "T1_PAR_Y")
    text = gtf_row("exon", 1, 4, x) + gtf_row("exon", 1, 4, y).replace("chr1\t", "chrY\t")
    found = extracted(text, {"chr1": "ACGTACGT", "chrY": "ACGTACGT"})
    assert found["T1_PAR_Y"].contig == "chrY"
    assert "par_y" in found["T1_PAR_Y"].reasons
    text = "##gff-version 3\n"
    for key, contig in (("rna-NM_1.1", "chr1"), ("rna-NM_1.1-2", "chrY")):
        rows = gtf_row("mRNA", 1, 4, f"ID={key};transcript_id=NM_1.1") + gtf_row("exon", 1, 4, f"Parent={key}")
        text += rows.replace("chr1\t", f"{contig}\t")
    assert extracted(text, {"chr1": "ACGTACGT", "chrY": "ACGTACGT"}).keys() == {"NM_1.1", "NM_1.1-2"}


def test_cds_without_exons_makes_its_own(extracted: Extracted) -> None:
    """As the mitochondrial genes of RefSeq, and bacterial annotation."""
    found = extracted(gtf_row("CDS", 3, 8, NAMES, frame="0"), {"chr1": "GGATGTAAGG"})["T1"]
    assert (found.rna, found.protein) == ("ATGTAA", "M")
    assert "exons_from_cds" in found.reasons


def test_coding_pieces_that_repeat_a_base_are_translated_as_pieces(extracted: Extracted) -> None:
    """A −1 ribosomal slippage: the second piece begins on the last base of the first."""
    text = (
        gtf_row("exon", 1, 12, NAMES) + gtf_row("CDS", 1, 6, NAMES, frame="0") + gtf_row("CDS", 6, 11, NAMES, frame="0")
    )
    found = extracted(text, {"chr1": "ATGGCTGTTAAC"})["T1"]
    assert (found.protein, found.cds_start, found.cds_end) == ("MAC", 0, 8)
    assert "ribosomal_slippage" in found.reasons


def test_transcript_of_an_assembler_is_neither_coding_nor_not(extracted: Extracted) -> None:
    """Without CDS and biotype the status is unknown; a frame is called on request and flagged."""
    bare = 'gene_id "STRG.1"; transcript_id "STRG.1.1";'
    contig = "CC" + "ATGGCTGCTGCTTAA" + "CC"
    silent = extracted(gtf_row("exon", 1, 19, bare), {"chr1": contig})["STRG.1.1"]
    assert (silent.coding_status, silent.protein, silent.cds_start) == ("unknown", None, -1)
    called = extracted(gtf_row("exon", 1, 19, bare), {"chr1": contig}, ExtractParams(window_bp=8, min_orf_residues=4))
    found = called["STRG.1.1"]
    assert (found.coding_status, found.protein, found.reasons[0]) == ("unknown", "MAAA", "orf_predicted")
    assert (found.cds_start, found.cds_end) == (2, 14)


def test_transcript_without_strand_or_exons_is_counted(extraction: Callable[..., Extraction]) -> None:
    """Neither can be spliced; neither disappears unseen."""
    text = gtf_row("exon", 1, 4, NAMES) + gtf_row("exon", 1, 4, NAMES.replace("T1", "T2"), strand=".")
    text += gtf_row("transcript", 1, 4, NAMES.replace("T1", "T3"))
    found = extraction(text, {"chr1": "ACGTACGT"})
    assert found.dropped == {"no_strand": 1, "no_exons": 1}


@pytest.mark.parametrize("elsewhere", ["chr2\t", "-\t"])
def test_transcript_spliced_together_from_two_places_is_counted(
    extraction: Callable[..., Extraction], elsewhere: str
) -> None:
    """Exons on two contigs or on both strands, as RefSeq has of trans-spliced genes: no one place, no silent loss."""
    old = "chr1\t" if elsewhere == "chr2\t" else "+\t"
    other = gtf_row("exon", 6, 8, NAMES).replace(old, elsewhere)
    text = gtf_row("exon", 1, 4, NAMES) + other + gtf_row("exon", 1, 4, NAMES.replace("T1", "T2"))
    found = extraction(text, {"chr1": "ACGTACGT", "chr2": "ACGTACGT"})
    assert [item.transcript_id for item in found.transcripts] == ["T2"]
    assert found.dropped == {"trans_spliced": 1}


def test_rows_of_one_trans_spliced_gene_may_share_an_id(extraction: Callable[..., Extraction]) -> None:
    """RefSeq writes one row per part, marked as such; unmarked, the same is a duplicate and an error."""
    from model.errors import InputError

    def text(mark: str) -> str:
        rows = "##gff-version 3\n"
        for start, strand, part in ((1, "+", 1), (5, "-", 2)):
            rows += gtf_row("mRNA", start, start + 3, f"ID=rna-A;{mark}{part}", strand=strand)
            rows += gtf_row("exon", start, start + 3, "Parent=rna-A", strand=strand)
        return rows + gtf_row("exon", 1, 4, "Parent=rna-B")

    found = extraction(text("exception=trans-splicing;part="), {"chr1": "ACGTACGT"})
    assert found.dropped == {"trans_spliced": 1}
    with pytest.raises(InputError, match="duplicated transcript or gene 'rna-A'"):
        extraction(text("Note="), {"chr1": "ACGTACGT"})


def test_rows_are_ordered_by_contig_of_the_genome_tss_and_id(extraction: Callable[..., Extraction]) -> None:
    """The order does not depend on that of the annotation."""
    text = "".join(
        gtf_row("exon", start, start + 3, f'gene_id "G"; transcript_id "{name}";').replace("chr1", contig)
        for name, contig, start in (("d", "chr1", 5), ("b", "chr1", 1), ("a", "chr1", 1), ("c", "chr2", 1))
    )
    found = extraction(text, {"chr2": "ACGTACGT", "chr1": "ACGTACGT"})
    assert [item.transcript_id for item in found.transcripts] == ["c", "a", "b", "d"]
