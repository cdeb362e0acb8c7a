"""Splits: what is promised to be apart is apart, and what is left out is counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from components.extract_sequences.families import read_families, similar_proteins
from components.extract_sequences.intervals import Coverage, read_bed
from components.extract_sequences.leakage import audit
from components.extract_sequences.splits import SPLITS, divide
from components.extract_sequences.transcripts import Transcript
from components.sections import SplitParams
from model.errors import InputError

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


def transcript(
    name: str, *, gene: str = "", contig: str = "chr1", tss: int = 0, protein: str | None = None, rna: str = ""
) -> Transcript:
    """A transcript of which only what splits look at is meant; its window is 100 bp."""
    return Transcript(
        number=0,
        transcript_id=name,
        gene_id=gene or f"gene of {name}",
        gene_name=None,
        gene_type="",
        transcript_type="",
        contig=contig,
        strand="+",
        tss=tss,
        window_start=tss - 50,
        window_end=tss + 50,
        exon_starts=np.array([tss]),
        exon_ends=np.array([tss + 1]),
        rna=rna or f"RNA of {name}",
        cds_start=-1,
        cds_end=-1,
        cds_phase=-1,
        protein=protein,
        coding_status="coding",
        tags=(),
        reasons=[],
    )


def spaced(count: int, *, per_contig: int = 50) -> list[Transcript]:
    """Genes of one transcript, far apart, on several contigs."""
    return [
        transcript(f"T{i:04d}", contig=f"chr{i // per_contig + 1}", tss=1000 * (i % per_contig) + 500)
        for i in range(count)
    ]


def random_protein(rng: np.random.Generator, length: int = 300) -> str:
    """Residues drawn evenly."""
    return "".join(rng.choice(list(RESIDUES), length))


def mutated(rng: np.random.Generator, protein: str, identity: float) -> str:
    """The same with the given share of residues kept."""
    return "".join(letter if rng.random() < identity else str(rng.choice(list(RESIDUES))) for letter in protein)


def test_shares_are_met_and_nothing_is_excluded_where_genes_are_apart() -> None:
    """Of 2,000 genes about 10 % are test and 5 % valid."""
    division = divide(spaced(2000), SplitParams())
    counts = Counter(division.split)
    assert not division.excluded
    assert abs(counts["test"] - 200) < 50
    assert abs(counts["valid"] - 100) < 40


def test_a_gene_stays_where_it_was_when_genes_are_added() -> None:
    """Its split depends on the seed and its name alone; another seed gives another split."""
    small, large = spaced(500), spaced(1000)
    before, after = divide(small, SplitParams()).split, divide(large, SplitParams()).split
    assert after[:500] == before
    assert divide(small, SplitParams(seed=1)).split != before


def test_transcripts_of_a_gene_and_identical_rnas_or_proteins_stay_together() -> None:
    """Chains too: one shares an RNA with the next, which shares a protein with a third."""
    items = []
    for i in range(300):
        items.append(transcript(f"a{i}", gene=f"A{i}", tss=3000 * i, rna=f"same rna {i}"))
        items.append(transcript(f"a{i}.2", gene=f"A{i}", tss=3000 * i + 10))
        items.append(transcript(f"b{i}", gene=f"B{i}", tss=3000 * i + 1000, rna=f"same rna {i}", protein=f"SAME{i}"))
        items.append(transcript(f"c{i}", gene=f"C{i}", tss=3000 * i + 2000, protein=f"SAME{i}"))
    split = divide(items, SplitParams()).split
    for i in range(0, len(items), 4):
        assert len(set(split[i : i + 4])) == 1
    assert set(split) == set(SPLITS)


def test_no_window_overlaps_one_of_a_more_held_out_split() -> None:
    """Dense genes: what overlaps is excluded from the less held-out split, and counted."""
    items = [transcript(f"T{i}", tss=40 * i) for i in range(2000)]
    division = divide(items, SplitParams())
    windows = {
        name: Coverage(
            (x.contig, x.window_start, x.window_end) for x, s in zip(items, division.split, strict=True) if s == name
        )
        for name in SPLITS
    }
    for item, split in zip(items, division.split, strict=True):
        for other in SPLITS:
            if split is not None and other != split:
                assert not windows[other].overlaps(item.contig, item.window_start, item.window_end)
    assert division.split.count(None) == sum(division.excluded.values()) > 0
    kept = [(item, split) for item, split in zip(items, division.split, strict=True) if split is not None]
    report = audit([item for item, _ in kept], [str(split) for _, split in kept], SplitParams())
    assert report["overlapping_windows"] == {"count": 0, "examples": [], "blocks": True}


def test_few_genes_still_fill_three_splits() -> None:
    """Three are enough; two are refused."""
    assert set(divide(spaced(3), SplitParams()).split) == set(SPLITS)
    with pytest.raises(InputError, match="2 independent groups of genes"):
        divide(spaced(2), SplitParams())


def test_chromosomes_are_held_out_whole_and_relatives_excluded() -> None:
    """A training gene with the protein of a test gene is left out; an unknown contig is refused."""
    items = [
        *spaced(150),
        transcript("twin", contig="chr1", tss=90_000, protein="MKKK"),
        transcript("copy", contig="chr3", tss=90_000, protein="MKKK"),
    ]
    params = SplitParams(policy="chromosome", valid_contigs=["chr2"], test_contigs=["chr3"])
    division = divide(items, params)
    for item, split in zip(items, division.split, strict=True):
        expected = {"chr1": "train", "chr2": "valid", "chr3": "test"}[item.contig]
        assert split == (None if item.transcript_id == "twin" else expected)
    assert division.excluded == {"family_in_other_split": 1}
    with pytest.raises(InputError, match="chr9"):
        divide(items, SplitParams(policy="chromosome", valid_contigs=["chr2"], test_contigs=["chr9"]))


def test_blocks_are_contiguous_and_windows_do_not_cross_their_borders() -> None:
    """Neighbours of one block share a split; a window across a border to another split is excluded."""
    items = [transcript(f"T{i:04d}", tss=60 * i) for i in range(3000)]
    division = divide(items, SplitParams(policy="block", block_bp=3000))
    by_block: dict[int, set[str | None]] = {}
    for item, split in zip(items, division.split, strict=True):
        by_block.setdefault(item.tss // 3000, set()).add(split)
    assert all(len(splits - {None}) == 1 for splits in by_block.values())
    assert 0 < division.split.count(None) < 200


def test_what_crosses_a_border_of_blocks_is_excluded_on_both_sides() -> None:
    """By its window or by an exon; blocks of one split are no border."""
    params = SplitParams(policy="block", block_bp=1000, test_share=0.4, valid_share=0.2)
    items = [transcript(f"T{block}", tss=1000 * block + 500) for block in range(200)]
    own = divide(items, params).split
    assert None not in own
    window = [transcript(f"W{block}", tss=1000 * block + 1000) for block in range(199)]
    exon = [transcript(f"E{block}", tss=1000 * block + 500) for block in range(199)]
    for block, item in enumerate(exon):
        item.exon_ends = np.array([1000 * block + 1001])
    division = divide([*items, *window, *exon], params)
    crossing = [None if own[block] != own[block + 1] else own[block] for block in range(199)]
    assert division.split == [*own, *crossing, *crossing]
    assert division.excluded == {"crosses_blocks": 2 * crossing.count(None)}


def test_relatives_among_what_is_kept_are_excluded_too() -> None:
    """A piece shared with a training gene is a small part of a test gene's many proteins, and most of what is left of
    it when those in no region are left out."""
    rng = np.random.default_rng(12)
    piece = random_protein(rng, 30)
    items = [
        *spaced(150),
        transcript("trained", contig="chr1", tss=90_000, protein=piece + random_protein(rng)),
        transcript("tested", gene="many", contig="chr3", tss=90_000, protein=piece + random_protein(rng, 10)),
        *(transcript(f"l{i}", gene="many", contig="chr9", tss=1000 * i, protein=random_protein(rng)) for i in range(9)),
    ]
    regions = {"train": [("chr1", 0, 10**6)], "valid": [("chr2", 0, 10**6)], "test": [("chr3", 0, 10**6)]}
    params = SplitParams(policy="region", min_shared_kmers=0.5)
    division = divide(items, params, regions=regions)
    assert division.excluded == {"outside_regions": 9, "family_in_other_split": 1}
    assert division.split[150:152] == [None, "test"]
    kept = [(item, split) for item, split in zip(items, division.split, strict=True) if split is not None]
    audit([item for item, _ in kept], [str(split) for _, split in kept], params)


def test_regions_of_a_bed_file_are_respected_with_whole_windows(tmp_path: Path) -> None:
    """A window that touches regions of two splits, or none, is excluded; names are mapped to splits."""
    (tmp_path / "regions.bed").write_text("chr1\t0\t1000\tfold0\nchr1\t1000\t2000\tfold3\nchr1\t2500\t3500\tfold4\n")
    items = [transcript(f"T{tss}", tss=tss) for tss in (500, 930, 980, 1500, 2300, 3000)]
    params = SplitParams(policy="region", region_splits={"fold3": "test", "fold4": "valid"})
    division = divide(items, params, regions=read_bed(tmp_path / "regions.bed"))
    assert division.split == ["train", "train", None, "test", None, "valid"]
    assert division.excluded == {"window_crosses_regions": 1, "outside_regions": 1}
    with pytest.raises(InputError, match="BED file"):
        divide(items, params)
    (tmp_path / "bad.bed").write_text("chr1\t0\t10\ta\nchr1\t10\t10\tb\n")
    with pytest.raises(InputError, match=r"bad.bed, line 2: expected contig, start, end and name"):
        read_bed(tmp_path / "bad.bed")


def test_proteins_of_one_family_are_alike_and_others_are_not() -> None:
    """Pairs at 80 % identity are found; 2,000 random pairs are not."""
    rng = np.random.default_rng(3)
    items = []
    for i in range(100):
        protein = random_protein(rng)
        items.append(transcript(f"p{i}", gene=f"P{i:03d}", protein=protein))
        items.append(transcript(f"q{i}", gene=f"Q{i:03d}", protein=mutated(rng, protein, 0.8)))
    links = {frozenset(pair) for pair in similar_proteins(items, 0.1).named()}
    assert links == {frozenset((f"P{i:03d}", f"Q{i:03d}")) for i in range(100)}


def test_policy_family_keeps_paralogues_together() -> None:
    """The same pairs fall in one split each; by gene alone many would not, as the audit of that policy tells."""
    rng = np.random.default_rng(4)
    items = []
    for i in range(150):
        protein = random_protein(rng)
        items.append(transcript(f"p{i}", tss=2000 * i, protein=protein))
        items.append(transcript(f"q{i}", tss=2000 * i + 1000, protein=mutated(rng, protein, 0.8)))
    split = divide(items, SplitParams(policy="family")).split
    assert all(split[i] == split[i + 1] for i in range(0, len(items), 2))
    by_gene = [str(name) for name in divide(items, SplitParams()).split]
    report = audit(items, by_gene, SplitParams())
    assert report["similar_proteins"]["count"] > 10
    assert not report["similar_proteins"]["blocks"]


@pytest.mark.parametrize(
    ("kind", "leak"),
    [
        ("genes", {"gene": "gene of T0000"}),
        ("identical rnas", {"rna": "RNA of T0000"}),
        ("identical proteins", {"protein": "the protein of T0000"}),
        ("overlapping windows", {"contig": "chr1", "tss": 530}),
        ("similar proteins", {"protein": "paralogue"}),
    ],
)
def test_audit_stops_a_planted_leak(kind: str, leak: dict[str, str | int]) -> None:
    """A test transcript with the gene, RNA, protein, window or a paralogue of a training transcript."""
    rng = np.random.default_rng(5)
    items = spaced(60)
    items[0].protein = random_protein(rng)
    planted = {"contig": "chr7", "tss": 70_000, **leak}
    if leak.get("protein"):
        paralogue = leak["protein"] == "paralogue"
        planted["protein"] = mutated(rng, items[0].protein, 0.75) if paralogue else items[0].protein
    splits = ["train"] * 50 + ["test"] * 10 + ["test"]
    with pytest.raises(InputError, match=f"expected no {kind} shared between splits, found 1"):
        audit([*items, transcript("planted", **planted)], splits, SplitParams(policy="family"))  # type: ignore[arg-type]
    harmless = transcript("harmless", contig="chr7", tss=70_000)
    assert not any(item["count"] for item in audit([*items, harmless], splits, SplitParams(policy="family")).values())


def test_table_of_families_is_read_or_refused(tmp_path: Path) -> None:
    """Gene and family by line; a gene of two families is refused with its line."""
    (tmp_path / "families.tsv").write_text("# gene\tfamily\ngene of T0000\tF1\ngene of T0001\tF1\ngene of T0002\tF1\n")
    families = read_families(tmp_path / "families.tsv")
    for seed in range(20):
        split = divide(spaced(200), SplitParams(policy="family", seed=seed), families=families).split
        assert len(set(split[:3])) == 1
    (tmp_path / "bad.tsv").write_text("A\tF1\nA\tF2\n")
    with pytest.raises(InputError, match=r"bad.tsv, line 2: expected a gene and its one family"):
        read_families(tmp_path / "bad.tsv")
