"""Sequence of a simulated gene: coding sequence, splice sites, and the planted elements and decoys."""

from __future__ import annotations

import numpy as np

from components.fabricate.gene_model import (
    PROMOTER_FIRST_BP,
    PROMOTER_SLOT_BP,
    UTR_SLOT_NT,
    Gene,
    GeneDesign,
    Instance,
    Interval,
    Layout,
    Rates,
)
from components.fabricate.genome import codes_of, codons_by_residue, encode_residues
from components.fabricate.motifs import FAMILIES, MOTIFS, Modality

# Residues of the background; R, L and S are rarer than in nature (see the residue motifs).
_RESIDUES = "AGVLISTPDEKRMWCHFQYN"
_RESIDUE_WEIGHTS = np.array([9, 7, 8, 2, 7, 2, 8, 6, 7, 8, 8, 1.6, 2.5, 1.3, 2, 3, 5, 5, 4, 5])
_RESIDUE_PROBABILITIES = _RESIDUE_WEIGHTS / _RESIDUE_WEIGHTS.sum()

_CODONS = codons_by_residue()
_STOP_CODONS = np.stack([codes_of(stop) for stop in ("TAA", "TAG", "TGA")])
_START = codes_of("ATG")

SELENOCYSTEINE_CDS_NT = 15


def splice_sites(codes: np.ndarray, layout: Layout) -> None:
    donors = [*layout.first_exons, layout.start_exon, *layout.cassettes, layout.stop_exon]
    acceptors = [layout.start_exon, *layout.cassettes, layout.stop_exon, *layout.last_exons]
    for _, end in donors:
        codes[end : end + 2] = codes_of("GT")
    for start, _ in acceptors:
        codes[start - 2 : start] = codes_of("AG")


def _state(present: np.ndarray) -> int:
    return int((present << np.arange(FAMILIES)).sum())


def _plant(gene: Gene, start: int, modality: Modality, family: int, codes: np.ndarray, *, counts: bool) -> None:
    gene.codes[start : start + len(codes)] = codes
    span = (start, start + len(codes))
    gene.instances.append(Instance(span=span, modality=modality, family=family, counts=counts))


def plant_promoter(rng: np.random.Generator, gene: Gene, tss: int, rates: Rates, window_bp: int) -> int:
    """One or two copies of each motif drawn, upstream; a decoy copy of an absent one stands downstream."""
    present = rng.random(FAMILIES) < rates.motif
    slots = iter(rng.permutation(2 * FAMILIES).tolist())
    for family, motif in enumerate(MOTIFS["dna"]):
        codes = codes_of(motif.sequence)
        room = PROMOTER_SLOT_BP - len(codes)
        if present[family]:
            for _ in range(int(rng.integers(1, 3))):
                end = tss - PROMOTER_FIRST_BP - PROMOTER_SLOT_BP * next(slots) - int(rng.integers(0, room + 1))
                _plant(gene, end - len(codes), "dna", family, codes, counts=True)
        elif rng.random() < rates.decoy:
            # Beyond the first exon (at most 99 nt) and its donor site, one lane per family.
            lane = (window_bp // 2 - 110) // FAMILIES
            start = tss + 104 + family * lane + int(rng.integers(0, lane - len(codes) + 1))
            _plant(gene, start, "dna", family, codes, counts=False)
    return _state(present)


def plant_utr(rng: np.random.Generator, gene: Gene, exon: Interval, rates: Rates) -> int:
    """One or two copies of each element drawn, near the end of the 3' UTR."""
    present = rng.random(FAMILIES) < rates.motif
    slots = iter(rng.permutation(2 * FAMILIES).tolist())
    origin = exon[1] - 10 - 2 * FAMILIES * UTR_SLOT_NT
    for family in np.flatnonzero(present).tolist():
        codes = codes_of(MOTIFS["rna"][family].sequence)
        for _ in range(int(rng.integers(1, 3))):
            start = origin + UTR_SLOT_NT * next(slots) + int(rng.integers(0, UTR_SLOT_NT - len(codes) + 1))
            _plant(gene, start, "rna", family, codes, counts=True)
    return _state(present)


def plant_utr_decoy(rng: np.random.Generator, gene: Gene, layout: Layout, rates: Rates) -> None:
    """A copy of an element in the 5' UTR, where it does nothing."""
    if rng.random() < rates.decoy:
        family = int(rng.integers(0, FAMILIES))
        codes = codes_of(MOTIFS["rna"][family].sequence)
        start = layout.start_exon[0] + int(rng.integers(0, layout.utr5_nt - len(codes) + 1))
        _plant(gene, start, "rna", family, codes, counts=False)


def background(rng: np.random.Generator, residues: int) -> str:
    drawn = rng.choice(len(_RESIDUES), residues, p=_RESIDUE_PROBABILITIES)
    return "".join(_RESIDUES[index] for index in drawn.tolist())


def write_cds(rng: np.random.Generator, gene: Gene, layout: Layout, design: GeneDesign, rates: Rates) -> list[int]:
    """Write start, codons and stop; return the residue-motif state of each cassette exon."""
    codes, split = gene.codes, layout.split_nt
    interrupted = encode_residues(background(rng, 1), _CODONS, rng)
    right = interrupted[split:] if split else interrupted[:0]
    start, end = layout.start_exon[0] + layout.utr5_nt, layout.start_exon[1]
    codes[start:end] = np.concatenate(
        [_START, encode_residues(background(rng, (end - start) // 3 - 1), _CODONS, rng), interrupted[:split]]
    )
    if design.selenoprotein:
        at = start + SELENOCYSTEINE_CDS_NT
        codes[at : at + 3] = codes_of("TGA")
    states = []
    for first, last in layout.cassettes:
        residues = (last - first) // 3 - (1 if split else 0)
        body = encode_residues(background(rng, residues), _CODONS, rng)
        codes[first:last] = np.concatenate([right, body, interrupted[:split]])
        states.append(_plant_residues(rng, gene, first + len(right), residues, rates))
    first, last = layout.stop_exon
    stop = layout.stop_end - 3
    body = encode_residues(background(rng, (stop - first - len(right)) // 3), _CODONS, rng)
    codes[first : stop + 3] = np.concatenate([right, body, rng.choice(_STOP_CODONS)])
    return states


def _plant_residues(rng: np.random.Generator, gene: Gene, start: int, residues: int, rates: Rates) -> int:
    """Motifs drawn, each in its own third of the cassette; a decoy is the motif with its residues shuffled."""
    present = rng.random(FAMILIES) < rates.motif
    slots = rng.permutation(FAMILIES).tolist()
    width = residues // FAMILIES
    for family, slot in enumerate(slots):
        sequence = MOTIFS["protein"][family].sequence
        residue = width * slot + int(rng.integers(0, width - len(sequence) + 1))
        decoy = not present[family] and rng.random() < rates.decoy
        if decoy:
            sequence = _shuffled(rng, sequence)
        if present[family] or decoy:
            codes = encode_residues(sequence, _CODONS, rng)
            _plant(gene, start + 3 * residue, "protein", family, codes, counts=not decoy)
    return _state(present)


def _shuffled(rng: np.random.Generator, sequence: str) -> str:
    """The same residues in another order."""
    while (shuffled := "".join(rng.permutation(list(sequence)).tolist())) == sequence:
        pass
    return shuffled
