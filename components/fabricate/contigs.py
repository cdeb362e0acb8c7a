"""Placing simulated genes on the contigs of a simulated genome."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.fabricate.gene_model import PROMOTER_REACH_BP, Gene, GeneDesign, Interval, Rates
from components.fabricate.genes import mitochondrial_gene, spliced_gene
from components.fabricate.genome import BASE_N, reverse_complement
from components.sections import FabricateParams

# Transcripts per gene, 1 to 8: 4.4 on average, as in real annotation.
_TRANSCRIPTS_PER_GENE = (0.06, 0.12, 0.17, 0.18, 0.17, 0.13, 0.10, 0.07)
_MITOCHONDRIAL = "chrM"
_MITOCHONDRIAL_GENES = (True, True, False, True, True, True)  # coding or not
_TELOMERE_N_BP = 40
_BIDIRECTIONAL_SHARE = 0.03
_BIDIRECTIONAL_TSS_BP = 328


@dataclass(frozen=True, kw_only=True)
class Contig:
    """A named sequence: codes (L,), and which bases are soft-masked (L,) bool."""

    name: str
    codes: np.ndarray
    masked: np.ndarray


@dataclass(frozen=True, kw_only=True)
class PlacedGene:
    """A gene on a contig: `start` is the 0-based genomic position of its leftmost base."""

    gene: Gene
    contig: str
    start: int
    strand: str
    number: int

    @property
    def gene_id(self) -> str:
        """A GENCODE-like identifier that no real gene has."""
        return f"SIMG{self.number:011d}.1"

    def transcript_id(self, index: int) -> str:
        """Identifier of the gene's transcript `index`."""
        return f"SIMT{self.number:09d}{index + 1:02d}.1"

    def genomic(self, span: Interval) -> Interval:
        """0-based half-open genomic interval of a sense interval of the gene."""
        if self.strand == "+":
            return self.start + span[0], self.start + span[1]
        end = self.start + len(self.gene.codes)
        return end - span[1], end - span[0]


def simulate_genome(params: FabricateParams, window_bp: int) -> tuple[list[Contig], list[PlacedGene]]:
    """Draw all genes and place them on contigs chr1.. and chrM, in genomic order."""
    rng = np.random.default_rng([params.seed, 1])
    designs = _designs(rng, params)
    rates = Rates(
        motif=params.motif_rate,
        decoy=params.decoy_rate,
        shared_tss=params.shared_tss_rate,
        tss_spread_bp=params.tss_spread_bp,
    )
    genes = [
        spliced_gene(np.random.default_rng([params.seed, 2, index]), design, rates, window_bp)
        for index, design in enumerate(designs)
    ]
    shares = 1.0 / (np.arange(params.contigs) + 4.0)
    bounds = np.round(np.cumsum(shares / shares.sum()) * len(genes)).astype(int)
    contigs: list[Contig] = []
    placed: list[PlacedGene] = []
    for index, (first, last) in enumerate(zip([0, *bounds[:-1].tolist()], bounds.tolist(), strict=True)):
        contigs.append(_place(rng, f"chr{index + 1}", genes[first:last], placed))
    mitochondrial = [mitochondrial_gene(rng, coding=coding) for coding in _MITOCHONDRIAL_GENES]
    contigs.append(_place(rng, _MITOCHONDRIAL, mitochondrial, placed))
    return contigs, placed


def _designs(rng: np.random.Generator, params: FabricateParams) -> list[GeneDesign]:
    """Designs whose transcripts, with the mitochondrial ones, number exactly `params.transcripts`."""
    wanted = params.transcripts - len(_MITOCHONDRIAL_GENES)
    designs: list[GeneDesign] = []
    while wanted > 0:
        transcripts = min(wanted, 1 + int(rng.choice(len(_TRANSCRIPTS_PER_GENE), p=_TRANSCRIPTS_PER_GENE)))
        wanted -= transcripts
        index = len(designs)
        coding = bool(rng.random() >= params.noncoding_share) or index == 0
        start_missing = coding and transcripts > 1 and index % 17 == 3
        designs.append(
            GeneDesign(
                transcripts=transcripts,
                coding=coding,
                selenoprotein=index == 0,
                start_missing=start_missing,
                end_missing=coding and transcripts > 1 and index % 13 == 5 and not start_missing,
            )
        )
    return designs


def _place(rng: np.random.Generator, name: str, genes: list[Gene], placed: list[PlacedGene]) -> Contig:
    """Lay genes side by side on random strands; a few head-to-head neighbours share their promoter region."""
    telomere = 0 if name == _MITOCHONDRIAL else _TELOMERE_N_BP
    pieces = [np.full(telomere, BASE_N, dtype=np.uint8)]
    masked: list[Interval] = []
    cursor, previous = telomere, ""
    for gene in genes:
        strand = "+-"[int(rng.integers(0, 2))]
        codes = gene.codes if strand == "+" else reverse_complement(gene.codes)
        overlap = 2 * gene.lead_in_bp - _BIDIRECTIONAL_TSS_BP
        if previous + strand == "-+" and overlap > 0 and rng.random() < _BIDIRECTIONAL_SHARE:
            # Each keeps the half of the shared stretch that its own promoter motifs are in.
            own = gene.lead_in_bp - _BIDIRECTIONAL_TSS_BP // 2
            pieces[-1] = pieces[-1][: len(pieces[-1]) - (overlap - own)]
            pieces.append(codes[own:])
            cursor -= overlap
        else:
            spacer = rng.integers(0, 4, int(rng.integers(40, 160)), dtype=np.uint8)
            masked.append((cursor + 10, cursor + len(spacer) - 10))
            pieces += [spacer, codes]
            cursor += len(spacer)
        placed.append(PlacedGene(gene=gene, contig=name, start=cursor, strand=strand, number=len(placed) + 1))
        cursor += len(codes)
        # A mitochondrial gene has no promoter here, and cannot be one of a pair.
        previous = strand if gene.lead_in_bp > PROMOTER_REACH_BP else ""
    pieces.append(np.full(telomere, BASE_N, dtype=np.uint8))
    codes = np.concatenate(pieces)
    mask = np.zeros(len(codes), dtype=bool)
    for start, end in masked:
        mask[start:end] = True
    return Contig(name=name, codes=codes, masked=mask)
