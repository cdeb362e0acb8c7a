"""One simulated gene: alternative promoters, alternative exons, alternative 3' UTRs, and the elements planted in them.

A spliced gene, in its own (sense) coordinates; lower-case is transcribed::

    ..P..[e1]....P..[e2]....(> window/2)....[utr5 ATG cds]--[cds X1]--[cds X2]--[cds stop utr3]--[utr3 L1]--[utr3 L2]

A transcript takes one promoter P with its first exon, at most one cassette exon X and one last exon L, so that its
three modalities vary independently. All X and L stand outside every DNA window (window/2 from any TSS).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from components.fabricate.motifs import FAMILIES, Modality

Interval = tuple[int, int]

# Promoter motifs stand 20 to 140 bp upstream of the TSS, where the windows of all presets still see them.
PROMOTER_FIRST_BP, PROMOTER_SLOT_BP = 20, 20
PROMOTER_REACH_BP = PROMOTER_FIRST_BP + 2 * FAMILIES * PROMOTER_SLOT_BP
UTR_SLOT_NT = 26
WINDOW_MARGIN_BP = 8
MIN_WINDOW_BP = 384


@dataclass(frozen=True, kw_only=True)
class GeneDesign:
    """What a gene is to be: its transcripts, whether it is translated, and its oddities."""

    transcripts: int
    coding: bool
    selenoprotein: bool = False
    start_missing: bool = False
    end_missing: bool = False


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Probabilities of the fabrication: an element in its place, a decoy where there is none, a shared TSS; and how far
    apart start sites of one promoter lie.
    """

    motif: float
    decoy: float
    shared_tss: float
    tss_spread_bp: int = 0


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A planted element; `counts` is False for a decoy, which has no effect on expression."""

    span: Interval
    modality: Modality
    family: int
    counts: bool


@dataclass(frozen=True, kw_only=True)
class Isoform:
    """A transcript: exons in sense coordinates of the gene, CDS in offsets of the spliced RNA (stop included).

    `states` are the element sets of (DNA, RNA, protein) as bits; `cds_phase` bases precede the first whole codon.
    """

    exons: tuple[Interval, ...]
    states: tuple[int, int, int]
    cds: Interval | None = None
    cds_phase: int = 0
    tags: tuple[str, ...] = ()
    selenocysteine: int | None = None


@dataclass(kw_only=True)
class Gene:
    """A gene in its own coordinates: codes (L,) of the sense strand, transcripts, planted elements."""

    codes: np.ndarray
    gene_type: str
    isoforms: list[Isoform] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)
    lead_in_bp: int = 0


@dataclass(kw_only=True)
class Layout:
    """Where the parts of a spliced gene stand."""

    first_exons: list[Interval]
    start_exon: Interval
    cassettes: list[Interval]
    stop_exon: Interval
    last_exons: list[Interval]
    utr5_nt: int
    split_nt: int  # bases of the codon that the introns around the cassette interrupt, left of the intron
    stop_end: int
    length: int
