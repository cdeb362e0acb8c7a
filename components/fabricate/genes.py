"""Drawing a simulated gene: its layout, its sequence and its transcripts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from components.fabricate.gene_model import WINDOW_MARGIN_BP, Gene, GeneDesign, Interval, Isoform, Layout, Rates
from components.fabricate.genome import codes_of, codons_by_residue, encode_residues
from components.fabricate.planting import (
    SELENOCYSTEINE_CDS_NT,
    background,
    plant_promoter,
    plant_utr,
    plant_utr_decoy,
    splice_sites,
    write_cds,
)

CASSETTE_SKIPPED = 0.08
SKIPPED = -1
# Two cassettes with two last exons each, the least that a gene of more than two transcripts has.
DISTINCT_TRIPLES_PER_TSS = 4
MITOCHONDRIAL_SPACER_BP = 60
_MITOCHONDRIAL_CODONS = codons_by_residue(mitochondrial=True)


def spliced_gene(rng: np.random.Generator, design: GeneDesign, rates: Rates, window_bp: int) -> Gene:
    """Draw a gene with introns of `design.transcripts` distinct transcripts."""
    tss_count = 1 + int((rng.random(design.transcripts - 1) >= rates.shared_tss).sum())
    tss_count = max(tss_count, -(-design.transcripts // DISTINCT_TRIPLES_PER_TSS))
    layout = _layout(rng, design, tss_count, window_bp)
    codes = rng.integers(0, 4, layout.length, dtype=np.uint8)
    gene_type = "protein_coding" if design.coding else "lncRNA"
    gene = Gene(codes=codes, gene_type=gene_type, lead_in_bp=window_bp // 2 + WINDOW_MARGIN_BP)
    splice_sites(codes, layout)
    dna = [plant_promoter(rng, gene, tss, rates, window_bp) for tss, _ in layout.first_exons]
    rna = [plant_utr(rng, gene, exon, rates) for exon in layout.last_exons]
    if not design.start_missing:
        plant_utr_decoy(rng, gene, layout, rates)
    protein = write_cds(rng, gene, layout, design, rates) if design.coding else [0] * len(layout.cassettes)
    _add_isoforms(rng, gene, layout, design, (dna, rna, protein))
    if rates.tss_spread_bp:
        starts = {start for start, _ in layout.first_exons}
        gene.isoforms = [
            _started_later(isoform, int(rng.integers(0, rates.tss_spread_bp + 1)))
            if isoform.exons[0][0] in starts
            else isoform
            for isoform in gene.isoforms
        ]
    return gene


def _layout(rng: np.random.Generator, design: GeneDesign, tss_count: int, window_bp: int) -> Layout:
    half = window_bp // 2
    tss = half + WINDOW_MARGIN_BP
    first_exons = []
    for _ in range(tss_count):
        first_exons.append((tss, tss + int(rng.integers(50, 100))))
        tss += window_bp + int(rng.integers(WINDOW_MARGIN_BP, 40))
    # A transcript that lacks its start has its TSS in the start exon: its window must not reach the cassettes.
    long_intron = half + 40 if design.start_missing else 0
    alternatives = int(rng.integers(2, 4)) if design.transcripts > 2 else int(rng.integers(1, 3))
    split_nt = int(rng.integers(0, 3)) if design.coding else 0
    codon = 3 if split_nt else 0
    utr5_nt = int(rng.integers(24, 60))
    start_nt = utr5_nt + 3 * int(rng.integers(12, 32)) + split_nt
    last_cds_nt = (codon and codon - split_nt) + 3 * int(rng.integers(10, 30)) + 3
    lengths = [start_nt]
    lengths += [codon + 3 * int(rng.integers(36, 46)) for _ in range(alternatives)]
    lengths += [last_cds_nt + int(rng.integers(8, 25))]
    lengths += [int(rng.integers(174, 220)) for _ in range(int(rng.integers(2, 4)))]
    exons = []
    cursor = first_exons[-1][0] + half + int(rng.integers(24, 60))
    for index, length in enumerate(lengths):
        exons.append((cursor, cursor + length))
        cursor += length + int(rng.integers(70, 110)) + (long_intron if index == 0 else 0)
    return Layout(
        first_exons=first_exons,
        start_exon=exons[0],
        cassettes=exons[1 : 1 + alternatives],
        stop_exon=exons[1 + alternatives],
        last_exons=exons[2 + alternatives :],
        utr5_nt=utr5_nt,
        split_nt=split_nt,
        stop_end=exons[1 + alternatives][0] + last_cds_nt,
        length=exons[-1][1] + 20,
    )


def _add_isoforms(
    rng: np.random.Generator,
    gene: Gene,
    layout: Layout,
    design: GeneDesign,
    states: tuple[list[int], list[int], list[int]],
) -> None:
    """Choose distinct (promoter, cassette, last exon) triples, every promoter at least once."""
    promoters = np.arange(design.transcripts) % len(layout.first_exons)
    taken: set[tuple[int, int, int]] = set()
    for number, promoter in enumerate(np.sort(promoters).tolist()):
        triple = _untaken(rng, taken, promoter, layout, design.coding)
        isoform = _complete(layout, states, triple, design)
        if design.start_missing and number == design.transcripts - 1:
            isoform = _without_start(rng, layout, states, triple)
        elif design.end_missing and number == design.transcripts - 1:
            isoform = _without_end(rng, layout, states, triple)
        gene.isoforms.append(isoform)


def _untaken(
    rng: np.random.Generator, taken: set[tuple[int, int, int]], promoter: int, layout: Layout, coding: bool
) -> tuple[int, int, int]:
    while True:
        skips = coding and rng.random() < CASSETTE_SKIPPED
        cassette = SKIPPED if skips else int(rng.integers(0, len(layout.cassettes)))
        triple = (promoter, cassette, int(rng.integers(0, len(layout.last_exons))))
        if triple not in taken:
            taken.add(triple)
            return triple


def _complete(
    layout: Layout, states: tuple[list[int], list[int], list[int]], triple: tuple[int, int, int], design: GeneDesign
) -> Isoform:
    promoter, cassette, last = triple
    exons = (
        layout.first_exons[promoter],
        layout.start_exon,
        *_cassette(layout, cassette),
        layout.stop_exon,
        layout.last_exons[last],
    )
    state = (states[0][promoter], states[1][last], 0 if cassette == SKIPPED else states[2][cassette])
    if not design.coding:
        return Isoform(exons=exons, states=state, tags=("basic",))
    start = exons[0][1] - exons[0][0] + layout.utr5_nt
    stop = _nt(exons[:-2]) + layout.stop_end - layout.stop_exon[0]
    if design.selenoprotein:
        return Isoform(
            exons=exons,
            states=state,
            cds=(start, stop),
            tags=("basic", "seleno"),
            selenocysteine=start + SELENOCYSTEINE_CDS_NT,
        )
    return Isoform(exons=exons, states=state, cds=(start, stop), tags=("basic",))


def _without_start(
    rng: np.random.Generator,
    layout: Layout,
    states: tuple[list[int], list[int], list[int]],
    triple: tuple[int, int, int],
) -> Isoform:
    """A transcript known from within the first coding exon on, in any frame but the first."""
    _, cassette, last = triple
    missing_nt = 3 * int(rng.integers(2, 8)) + int(rng.integers(1, 3))
    start_exon = (layout.start_exon[0] + layout.utr5_nt + missing_nt, layout.start_exon[1])
    exons = (start_exon, *_cassette(layout, cassette), layout.stop_exon, layout.last_exons[last])
    return Isoform(
        exons=exons,
        states=(0, states[1][last], 0 if cassette == SKIPPED else states[2][cassette]),
        cds=(0, _nt(exons[:-2]) + layout.stop_end - layout.stop_exon[0]),
        cds_phase=-missing_nt % 3,
        tags=("mRNA_start_NF", "cds_start_NF"),
    )


def _without_end(
    rng: np.random.Generator,
    layout: Layout,
    states: tuple[list[int], list[int], list[int]],
    triple: tuple[int, int, int],
) -> Isoform:
    """A transcript known up to a place within its last coding exon: no stop codon, no 3' UTR."""
    promoter, cassette, _ = triple
    first = layout.stop_exon[0]
    stop_exon = (first, first + int(rng.integers(9, layout.stop_end - first - 3)))
    exons = (layout.first_exons[promoter], layout.start_exon, *_cassette(layout, cassette), stop_exon)
    return Isoform(
        exons=exons,
        states=(states[0][promoter], 0, 0 if cassette == SKIPPED else states[2][cassette]),
        cds=(exons[0][1] - exons[0][0] + layout.utr5_nt, _nt(exons)),
        tags=("mRNA_end_NF", "cds_end_NF"),
    )


def _started_later(isoform: Isoform, bp: int) -> Isoform:
    """The same transcript without the first bases of its first exon."""
    start, end = isoform.exons[0]
    return replace(
        isoform,
        exons=((start + bp, end), *isoform.exons[1:]),
        cds=None if isoform.cds is None else (isoform.cds[0] - bp, isoform.cds[1] - bp),
        selenocysteine=None if isoform.selenocysteine is None else isoform.selenocysteine - bp,
    )


def _cassette(layout: Layout, cassette: int) -> tuple[Interval, ...]:
    return () if cassette == SKIPPED else (layout.cassettes[cassette],)


def _nt(exons: tuple[Interval, ...]) -> int:
    return sum(end - start for start, end in exons)


def mitochondrial_gene(rng: np.random.Generator, *, coding: bool) -> Gene:
    """A gene of one exon without UTRs, written in the vertebrate mitochondrial code."""
    residues = int(rng.integers(60, 120))
    if not coding:
        body = rng.integers(0, 4, 3 * residues, dtype=np.uint8)
    else:
        sequence = background(rng, residues) + "WM*"
        body = np.concatenate([codes_of("ATG"), encode_residues(sequence, _MITOCHONDRIAL_CODONS, rng)])
    codes = np.concatenate([rng.integers(0, 4, MITOCHONDRIAL_SPACER_BP, dtype=np.uint8), body])
    isoform = Isoform(
        exons=((MITOCHONDRIAL_SPACER_BP, len(codes)),),
        states=(0, 0, 0),
        cds=(0, len(body)) if coding else None,
        tags=("basic",),
    )
    return Gene(codes=codes, gene_type="protein_coding" if coding else "Mt_rRNA", isoforms=[isoform])
