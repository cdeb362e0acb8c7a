"""The simulated genome and annotation are what an ordinary reader of GENCODE expects."""

from __future__ import annotations

from itertools import pairwise

from Bio import bgzf
from Bio.Seq import Seq
from fabricated_reader import Raw, Transcript


def _codons(raw: Raw, transcript: Transcript) -> str:
    """Translation of the CDS rows, from the frame of the first one on."""
    first = sorted(transcript.features["CDS"], reverse=transcript.strand == "-")[0]
    bases = raw.spliced(transcript, "CDS")[int(first[2]) :]
    table = 2 if transcript.contig == "chrM" else 1
    return str(Seq(bases[: len(bases) // 3 * 3]).translate(table=table))


def _coding(raw: Raw) -> list[Transcript]:
    return [item for item in raw.transcripts.values() if item.features["CDS"]]


def test_genome_is_blocked_gzip_with_matching_indexes(raw: Raw) -> None:
    """Biopython's BGZF reader reaches every contig's first bases through .fai, and .gzi lists the true block starts."""
    path = raw.folder / "genome.fa.gz"
    with path.open("rb") as handle:
        blocks = [(start, data_start) for start, _, data_start, length in bgzf.BgzfBlocks(handle) if length]
    index = path.with_name("genome.fa.gz.gzi").read_bytes()
    numbers = [int.from_bytes(index[at : at + 8], "little") for at in range(0, len(index), 8)]
    assert numbers[0] == len(blocks) - 1 > 0
    assert list(zip(numbers[1::2], numbers[2::2], strict=True)) == blocks[1:]
    reader = bgzf.BgzfReader(str(path), "r")
    for line in path.with_name("genome.fa.gz.fai").read_text().splitlines():
        name, length, offset, line_bases, line_width = line.split("\t")
        start, data_start = max(block for block in blocks if block[1] <= int(offset))
        reader.seek(bgzf.make_virtual_offset(start, int(offset) - data_start))
        assert int(length) == len(raw.genome[name])
        assert reader.read(60).upper() == raw.genome[name][:60]
        assert (int(line_bases), int(line_width)) == (60, 61)


def test_genes_stand_on_both_strands_of_all_contigs_and_the_mitochondrion(raw: Raw) -> None:
    """chr1.. and chrM hold genes on both strands."""
    assert {contig for contig, *_ in raw.genes.values()} == {"chr1", "chr2", "chr3", "chrM"} == raw.genome.keys()
    for contig in ("chr1", "chr2", "chr3", "chrM"):
        assert {strand for name, _, _, strand in raw.genes.values() if name == contig} == {"+", "-"}


def test_every_intron_is_gt_ag(raw: Raw) -> None:
    """All introns begin with GT and end with AG on their strand."""
    introns = 0
    for item in raw.transcripts.values():
        for (_, end, _), (start, _, _) in pairwise(sorted(item.features["exon"])):
            bases = raw.bases(item.contig, end + 1, start - 1, item.strand)
            assert (bases[:2], bases[-2:]) == ("GT", "AG")
            assert len(bases) >= 70
            introns += 1
    assert introns > len(raw.transcripts)


def test_complete_coding_sequences_run_from_atg_to_a_stop(raw: Raw) -> None:
    """ATG, whole codons, no stop within but at a Selenocysteine row, a stop codon row behind."""
    complete = [item for item in _coding(raw) if not any("NF" in tag for tag in item.tags)]
    assert len(complete) > 200
    for item in complete:
        assert raw.spliced(item, "start_codon") == raw.spliced(item, "CDS")[:3] == "ATG"
        stops = ("TAA", "TAG", "AGA", "AGG") if item.contig == "chrM" else ("TAA", "TAG", "TGA")
        assert raw.spliced(item, "stop_codon") in stops
        assert len(raw.spliced(item, "CDS")) % 3 == 0
        assert _codons(raw, item).count("*") == len(item.features["Selenocysteine"])


def test_selenocysteine_rows_name_in_frame_tga(raw: Raw) -> None:
    """One gene is a selenoprotein: its rows hold TGA, at the stop that translation sees."""
    seleno = [item for item in raw.transcripts.values() if item.features["Selenocysteine"]]
    assert len({item.gene_id for item in seleno}) == 1
    for item in seleno:
        assert raw.spliced(item, "Selenocysteine") == "TGA"
        at = _codons(raw, item).index("*")
        assert raw.spliced(item, "CDS")[3 * at : 3 * at + 3] == "TGA"
        assert "seleno" in item.tags


def test_incomplete_transcripts_are_tagged_and_translate_in_their_frame(raw: Raw) -> None:
    """cds_start_NF has no start codon and a frame of 1 or 2; cds_end_NF no stop codon; neither has a stop within."""
    by_tag = {tag: [item for item in _coding(raw) if tag in item.tags] for tag in ("cds_start_NF", "cds_end_NF")}
    assert all(by_tag.values())
    for item in by_tag["cds_start_NF"]:
        assert "mRNA_start_NF" in item.tags
        assert not item.features["start_codon"]
        assert sorted(item.features["CDS"], reverse=item.strand == "-")[0][2] in {"1", "2"}
        assert "*" not in _codons(raw, item)
    for item in by_tag["cds_end_NF"]:
        assert "mRNA_end_NF" in item.tags
        assert not item.features["stop_codon"]
        assert "*" not in _codons(raw, item)


def test_frames_of_all_cds_rows_follow_from_the_lengths(raw: Raw) -> None:
    """Each CDS row's frame is what the rows before it leave over."""
    for item in _coding(raw):
        rows = sorted(item.features["CDS"], reverse=item.strand == "-")
        frame = int(rows[0][2])
        for start, end, text in rows:
            assert int(text) == frame
            frame = (frame - (end - start + 1)) % 3


def test_cds_and_utr_rows_cover_the_exons(raw: Raw) -> None:
    """As in GENCODE, UTR rows take the stop codon in: CDS and UTR together are the exons."""
    for item in _coding(raw):
        lengths = {
            name: sum(end - start + 1 for start, end, _ in item.features[name]) for name in ("exon", "CDS", "UTR")
        }
        assert lengths["exon"] == lengths["CDS"] + lengths["UTR"]


def test_genes_have_isoforms_and_some_are_not_coding(raw: Raw) -> None:
    """About four transcripts per gene, 5 to 25 % of genes non-coding in this small sample."""
    noncoding = {item.gene_id for item in raw.transcripts.values() if not item.features["CDS"]}
    assert len(raw.transcripts) == 400
    assert 3 < len(raw.transcripts) / len(raw.genes) < 6
    assert 0.05 < len(noncoding) / len(raw.genes) < 0.25
    exons = [tuple(item.features["exon"]) for item in raw.transcripts.values()]
    assert len(set(exons)) == len(exons)
