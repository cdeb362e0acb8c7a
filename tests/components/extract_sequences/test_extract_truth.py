"""Extraction equals what Ensembl and gffread wrote for the same genes; each exception is explained."""

from __future__ import annotations

import csv
import gzip
import re
from collections import Counter
from pathlib import Path

from small_files import read_fasta

from components.extract_sequences.annotation import Annotation, read_annotation
from components.extract_sequences.orf import longest_orf
from components.extract_sequences.table import write_transcripts
from components.extract_sequences.transcripts import Transcript, extract
from components.sections import ExtractParams
from components.sequences import Genome
from model.tokenizers import dna_codes

Transcripts = dict[str, Transcript]


def test_rna_equals_ensembl_cdna_or_is_explained(shared: Path, shared_transcripts: Transcripts) -> None:
    """476 of 492 RNAs are Ensembl's own; 10 are of another version, 6 carry the one base that GRCh37 has otherwise."""
    cdna = read_fasta(shared / "truth" / "ensembl_cdna.chr19_1-1500000.fa.gz")
    assembly_base = _assembly_difference(shared)
    explained: Counter[str] = Counter()
    with (shared / "truth" / "ensembl_cdna_vs_extracted.tsv").open() as handle:
        pairs = [(row["gtf_transcript_id"], row["ensembl_cdna_id"]) for row in csv.DictReader(handle, delimiter="\t")]
    for ours, theirs in pairs:
        transcript = shared_transcripts[ours]
        if transcript.rna == cdna[theirs]:
            explained["identical"] += 1
        elif ours != theirs:
            explained["another version of the transcript"] += 1
        else:
            position, base = assembly_base
            assert transcript.strand == "+"
            offset = _offset_in_rna(transcript, position)
            assert transcript.rna[:offset] + base + transcript.rna[offset + 1 :] == cdna[theirs], ours
            explained["the base that GRCh37 has otherwise"] += 1
    assert explained == {
        "identical": 476,
        "another version of the transcript": 10,
        "the base that GRCh37 has otherwise": 6,
    }


def _assembly_difference(shared: Path) -> tuple[int, str]:
    rows = (shared / "truth" / "chr19_exonic_GRCh37_vs_GRCh38.tsv").read_text().splitlines()
    position, _, base = rows[1].split("\t")
    return int(position) - 1, base


def _offset_in_rna(transcript: Transcript, position: int) -> int:
    before = 0
    for start, end in zip(transcript.exon_starts.tolist(), transcript.exon_ends.tolist(), strict=True):
        if start <= position < end:
            return before + position - start
        before += end - start
    raise AssertionError("the position is in no exon")


def test_rna_equals_gffread(shared: Path, shared_transcripts: Transcripts) -> None:
    """All 1,005 spliced RNAs are gffread's."""
    peer = read_fasta(shared / "truth" / "gffread_0.12.7.tx.fa.gz")
    assert {name: item.rna for name, item in shared_transcripts.items()} == peer


def test_cds_equals_gffread(shared: Path, shared_transcripts: Transcripts) -> None:
    """All 552 coding sequences are gffread's, which cuts the bases before the first whole codon off."""
    peer = read_fasta(shared / "truth" / "gffread_0.12.7.cds.fa.gz")
    coding = {name: item for name, item in shared_transcripts.items() if item.cds_start >= 0}
    assert coding.keys() == peer.keys()
    for name, item in coding.items():
        cds = item.rna[item.cds_start + item.cds_phase : item.cds_end]
        assert peer[name] in (cds, cds + item.rna[item.cds_end : item.cds_end + 3]), name


def test_protein_equals_gffread_but_for_selenocysteine(shared: Path, shared_transcripts: Transcripts) -> None:
    """Of 552 proteins only the 8 of GPX4 differ, by the 11 annotated selenocysteines, stops for gffread."""
    peer = {
        name: letters.replace(".", "*").rstrip("*")
        for name, letters in read_fasta(shared / "truth" / "gffread_0.12.7.prot.fa.gz").items()
    }
    coding = {name: item for name, item in shared_transcripts.items() if item.cds_start >= 0}
    different = {name for name, item in coding.items() if item.protein != peer[name]}
    assert different == {name for name, item in coding.items() if "selenocysteine" in item.reasons}
    assert len(different) == 8
    assert sum((coding[name].protein or "").count("U") for name in different) == 11
    for name in different:
        protein = coding[name].protein
        assert protein is not None
        assert protein.replace("U", "*").rstrip("*") == peer[name]


def test_internal_stop_is_the_refseq_mrna_that_differs_from_the_genome(shared_transcripts: Transcripts) -> None:
    """The only stop within a protein is that of NM_001357016, whose mRNA is not what the genome says."""
    assert [name for name, item in shared_transcripts.items() if "internal_stop" in item.reasons] == ["NM_001357016"]


def test_complete_proteins_start_with_methionine_and_end_in_a_stop(shared_transcripts: Transcripts) -> None:
    """336 coding transcripts are complete: all stop, 335 start with ATG, the other is marked."""
    complete = [
        item
        for item in shared_transcripts.values()
        if item.cds_start >= 0
        and item.transcript_type == "protein_coding"
        and not any(tag.endswith("_NF") for tag in item.tags)
    ]
    assert len(complete) == 336
    assert not any("no_stop_codon" in item.reasons or "partial_last_codon" in item.reasons for item in complete)
    assert sum(item.rna[item.cds_start :].startswith("ATG") for item in complete) == 335
    assert sum("non_atg_start" in item.reasons for item in complete) == 1


def test_gtf_and_gff3_of_the_same_genes_give_the_same_bytes(
    shared: Path, shared_genome: Genome, tmp_path: Path
) -> None:
    """One counts the stop codon into the CDS, the other does not; the Parquet files are equal."""
    import numpy as np

    written = []
    for name in ("gtf", "gff3"):
        annotation = read_annotation(shared / "annotation" / f"chr2_chr8_part.gencode.{name}.gz")
        assert annotation.format == name
        found = extract(annotation, shared_genome, ExtractParams(window_bp=1024))
        assert not found.dropped
        path = tmp_path / f"{name}.parquet"
        rows = len(found.transcripts)
        write_transcripts(path, found.transcripts, ["train"] * rows, np.zeros((rows, 2), dtype=np.float32))
        written.append(path.read_bytes())
    assert written[0] == written[1]


def test_annotation_without_transcript_and_gene_rows_gives_the_same(
    shared: Path, shared_transcripts: Transcripts, shared_genome: Genome, tmp_path: Path
) -> None:
    """A GTF of exon, CDS and Selenocysteine rows alone says all that is needed."""
    with gzip.open(shared / "annotation" / "demo.gtf.gz", "rt") as handle:
        rows = [line for line in handle if not line.startswith("#")]
    kept = [line for line in rows if line.split("\t")[2] in ("exon", "CDS", "Selenocysteine")]
    (tmp_path / "bare.gtf").write_text("".join(kept))
    bare: Annotation = read_annotation(tmp_path / "bare.gtf")
    found = {
        item.transcript_id: item for item in extract(bare, shared_genome, ExtractParams(window_bp=1024)).transcripts
    }
    assert found.keys() == shared_transcripts.keys()
    for name, item in found.items():
        for field in ("rna", "protein", "gene_id", "gene_type", "transcript_type", "cds_start", "cds_end", "reasons"):
            assert getattr(item, field) == getattr(shared_transcripts[name], field), (name, field)


def test_tss_base_stands_at_the_middle_of_the_window(shared_transcripts: Transcripts, shared_genome: Genome) -> None:
    """On both strands, and the RNA's first exon continues from there."""
    strands = set()
    for item in shared_transcripts.values():
        window = shared_genome.window(item.contig, item.window_start, item.window_end, item.strand)
        first_exon = item.rna[: min(int(item.exon_ends[0] - item.exon_starts[0]), 20)]
        if len(item.exon_starts) > 1 and item.strand == "-":
            first_exon = item.rna[: min(int(item.exon_ends[-1] - item.exon_starts[-1]), 20)]
        assert (window[512 : 512 + len(first_exon)] == dna_codes(first_exon)).all(), item.transcript_id
        strands.add(item.strand)
    assert strands == {"+", "-"}


def test_called_frames_are_mostly_the_annotated_ones(shared_transcripts: Transcripts) -> None:
    """The longest frame is the annotated CDS of 93 % of complete coding transcripts; a third of non-coding have one."""
    complete = [
        item
        for item in shared_transcripts.values()
        if item.protein and item.transcript_type == "protein_coding" and not any("_NF" in tag for tag in item.tags)
    ]
    right = 0
    for item in complete:
        called = longest_orf(dna_codes(item.rna), 30)
        right += called is not None and (called.cds_start, called.cds_end) == (item.cds_start, item.cds_end)
    assert right / len(complete) > 0.92
    non_coding = [item for item in shared_transcripts.values() if item.coding_status == "non_coding"]
    assert sum(longest_orf(dna_codes(item.rna), 100) is not None for item in non_coding) / len(non_coding) < 0.35


def test_every_reason_code_is_documented() -> None:
    """docs/dataset.md names all codes that the extraction's source can give."""
    root = Path(__file__).parents[3]
    documented = set(re.findall(r"[a-z_]+", (root / "docs" / "dataset.md").read_text()))
    sources = "".join(path.read_text() for path in (root / "components" / "extract_sequences").glob("*.py"))
    given = re.findall(r"reasons\.append\(\"([a-z_]+)\"", sources) + re.findall(
        r"return \"([a-z]+(?:_[a-z]+)+)\"", sources
    )
    assert len(given) > 15
    assert set(given) <= documented
