"""The planted elements: what the simulated expression depends on, and nothing else.

All are inventions. Nucleotide elements hold the four bases in equal parts, so that composition does not give them
away; no two of one modality share a six-mer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Modality = Literal["dna", "rna", "protein"]
MODALITIES: tuple[Modality, ...] = ("dna", "rna", "protein")


@dataclass(frozen=True)
class Motif:
    """One element: its name in the truth tables, its modality, its sequence (nucleotides or residues)."""

    name: str
    modality: Modality
    sequence: str


MOTIFS: dict[Modality, tuple[Motif, ...]] = {
    # Upstream of the TSS, never transcribed.
    "dna": (
        Motif("promoter_1", "dna", "CAGTTCGATGAC"),
        Motif("promoter_2", "dna", "GGTACACTTGCA"),
        Motif("promoter_3", "dna", "TCGCATAGGATC"),
    ),
    # In the 3' UTR; 18 nt hold at least two whole six-mer tokens in every frame.
    "rna": (
        Motif("utr_element_1", "rna", "TGTAAATCGCTAGACCGT"),
        Motif("utr_element_2", "rna", "ATTTACGGCATTCGAGAC"),
        Motif("utr_element_3", "rna", "CTAGTGCATACCGATAGT"),
    ),
    # Residues with four or six codons each, so that random synonymous codons hide them from the RNA. Arginine, leucine
    # and serine, with six, are rare in the simulated background: a small network finds what is rare.
    "protein": (
        Motif("residue_motif_1", "protein", "RGRARVRT"),
        Motif("residue_motif_2", "protein", "LTLPLALV"),
        Motif("residue_motif_3", "protein", "SVSGSASP"),
    ),
}

# Elements of one modality are read as the bits of a state 0..7.
FAMILIES = 3
STATES = 2**FAMILIES
