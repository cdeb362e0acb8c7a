"""Isoforms of long-read and short-read assemblers: rows as StringTie, IsoQuant, FLAIR and Bambu write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from components.extract_sequences.transcripts import Extraction
from components.sections import ExtractParams

if TYPE_CHECKING:
    from tests.components.extract_sequences.conftest import Extracted

# Two exons, 1-10 and 14-22: CC ATG GCT GC | T GCT TAA C C
CONTIG = "CCATGGCTGC" + "GTA" + "TGCTTAACC" + "A" * 8
CODED = ExtractParams(window_bp=8, min_orf_residues=4)


def rows(source: str, names: str, *, transcript: str | None = "", gene: str | None = None, strand: str = "+") -> str:
    """Lines of one transcript; `transcript` and `gene` are what their rows add to the names, None writes no row."""
    lines = []
    if gene is not None:
        lines.append(("gene", 1, 22, gene))
    if transcript is not None:
        lines.append(("transcript", 1, 22, names + transcript))
    lines += [("exon", 1, 10, names + ' exon_number "1";'), ("exon", 14, 22, names + ' exon_number "2";')]
    return "".join(f"chr1\t{source}\t{kind}\t{a}\t{b}\t1000\t{strand}\t.\t{text}\n" for kind, a, b, text in lines)


STRINGTIE = rows(
    "StringTie",
    'gene_id "STRG.1"; transcript_id "STRG.1.1";',
    transcript=' cov "12.3"; FPKM "1.5"; TPM "2.25";',
)
STRINGTIE_GUIDED = rows(
    "StringTie",
    'gene_id "STRG.1"; transcript_id "STRG.1.1"; reference_id "ENST01.1"; ref_gene_id "ENSG01.1"; ref_gene_name "A";',
    transcript=' cov "12.3"; FPKM "1.5"; TPM "2.25";',
)
ISOQUANT = rows(
    "IsoQuant",
    'gene_id "ENSG01.1"; transcript_id "transcript7.chr1.nnic";',
    transcript=' exons "2"; Canonical "True"; similar_reference_id "ENST01.1"; alternatives "extra_intron";',
    gene='gene_id "ENSG01.1"; transcripts 1; gene_name "A"; gene_type "protein_coding";',
)
FLAIR = rows("FLAIR", 'gene_id "ENSG01.1"; transcript_id "d2d4a6bd-1f3c_ENSG01.1";', transcript=None)
BAMBU = rows("Bambu", 'gene_id "BambuGene1"; transcript_id "BambuTx1";')


@pytest.mark.parametrize(
    ("text", "name", "gene"),
    [
        (STRINGTIE, "STRG.1.1", "STRG.1"),
        (STRINGTIE_GUIDED, "STRG.1.1", "STRG.1"),
        (ISOQUANT, "transcript7.chr1.nnic", "ENSG01.1"),
        (FLAIR, "d2d4a6bd-1f3c_ENSG01.1", "ENSG01.1"),
        (BAMBU, "BambuTx1", "BambuGene1"),
    ],
    ids=["stringtie", "stringtie-guided", "isoquant", "flair", "bambu"],
)
def test_assembled_isoforms_are_of_unknown_status_until_a_frame_is_asked_for(
    extracted: Extracted, text: str, name: str, gene: str
) -> None:
    """Ids stay as written; without a CDS nothing is called coding, and a frame that was called says so."""
    silent = extracted(text, {"chr1": CONTIG})[name]
    assert (silent.gene_id, silent.coding_status, silent.protein) == (gene, "unknown", None)
    assert silent.exon_starts.tolist() == [0, 13]
    called = extracted(text, {"chr1": CONTIG}, CODED)[name]
    assert (called.coding_status, called.protein, called.reasons[0]) == ("unknown", "MAAA", "orf_predicted")


def test_novel_and_annotated_isoforms_of_one_file_keep_their_status(extracted: Extracted) -> None:
    """IsoQuant's extended annotation has known isoforms beside novel ones: three answers in one file."""
    known = (
        'gene_id "ENSG01.1"; transcript_id "ENST01.1"; gene_type "protein_coding"; transcript_type "protein_coding";'
    )
    silent = known.replace("ENST01.1", "ENST02.1").replace(
        'transcript_type "protein_coding"', 'transcript_type "retained_intron"'
    )
    cds = "".join(f"chr1\tHAVANA\tCDS\t{a}\t{b}\t.\t+\t{phase}\t{known}\n" for a, b, phase in ((3, 10, 0), (14, 17, 1)))
    text = rows("HAVANA", known) + cds + rows("HAVANA", silent) + ISOQUANT
    found = extracted(text, {"chr1": CONTIG}, CODED)
    assert {name: item.coding_status for name, item in found.items()} == {
        "ENST01.1": "coding",
        "ENST02.1": "non_coding",
        "transcript7.chr1.nnic": "unknown",
    }
    assert {name: item.protein for name, item in found.items()} == {
        "ENST01.1": "MAAA",
        "ENST02.1": None,  # the annotation says that it is not translated, whatever frame it has
        "transcript7.chr1.nnic": "MAAA",
    }


def test_single_exon_assemblies_without_strand_are_counted(extraction: Callable[..., Extraction]) -> None:
    """StringTie cannot know the strand of an unspliced transcript from unstranded reads, and writes a dot."""
    lost = rows("StringTie", 'gene_id "STRG.2"; transcript_id "STRG.2.1";', strand=".")
    found = extraction(STRINGTIE + lost, {"chr1": CONTIG})
    assert [item.transcript_id for item in found.transcripts] == ["STRG.1.1"]
    assert found.dropped == {"no_strand": 1}
