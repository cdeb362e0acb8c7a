"""From an annotated CDS to a protein: phase, genetic code, start and stop codons, selenocysteine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from components.sequences import MITOCHONDRIAL_CODE, STANDARD_CODE

_CODES = bytes.maketrans(b"ACGT", bytes(range(4)))


def _codons(*codons: str) -> frozenset[bytes]:
    return frozenset(codon.encode().translate(_CODES) for codon in codons)


_START = _codons("ATG")
# Codons one base from ATG, which start translation, with methionine, too (Kearse & Wilusz 2017).
_NEAR_COGNATE = _codons("CTG", "GTG", "TTG", "ACG", "AAG", "AGG", "ATA", "ATC", "ATT")
_STOPS = {STANDARD_CODE: _codons("TAA", "TAG", "TGA"), MITOCHONDRIAL_CODE: _codons("TAA", "TAG", "AGA", "AGG")}
# What is left of mitochondrial stop codons that the tail makes TAA.
_COMPLETED_STOPS = frozenset(codon[:length] for codon in _codons("TAA") for length in (1, 2))
STOP_NT = 3


@dataclass(frozen=True, slots=True)
class Coding:
    """A protein and where its codons lie: offsets in the RNA, the stop codon excluded."""

    cds_start: int
    cds_end: int
    phase: int
    protein: str
    reasons: tuple[str, ...]


def read_cds(
    rna: bytes,
    cds: tuple[int, int],
    phase: int,
    codes: bytes,
    residues_read: str,
    *,
    selenocysteines: Sequence[int] = (),
    mitochondrial: bool = False,
    start_missing: bool = False,
    segment: bool = False,
) -> Coding:
    """Make the protein of a CDS [start, end) of RNA codes, given with or without its stop codon.

    `codes` are those of the CDS, rna[start:end] unless coding pieces skip or repeat bases; `residues_read` their
    translation from `phase` on. `selenocysteines` are offsets of codons in the RNA. `segment` marks immunoglobulin and
    T-cell receptor parts, which have no start of their own.
    """
    start, end = cds
    code = MITOCHONDRIAL_CODE if mitochondrial else STANDARD_CODE
    residues, reasons = residues_read, []
    for offset in selenocysteines:
        index, rest = divmod(offset - start - phase, 3)
        if not rest and 0 <= index < len(residues) and residues[index] == "*":
            residues = f"{residues[:index]}U{residues[index + 1 :]}"
            reasons.append("selenocysteine")
    leftover = (len(codes) - phase) % 3
    stop_included = not leftover and residues.endswith("*")
    if stop_included:
        residues = residues[:-1]
        end -= STOP_NT
    if leftover:
        completed = mitochondrial and codes[-leftover:] in _COMPLETED_STOPS
        reasons.append("stop_completed_by_polyadenylation" if completed else "partial_last_codon")
    elif not stop_included and rna[end : end + STOP_NT] not in _STOPS[code]:
        reasons.append("no_stop_codon")
    if phase:
        reasons.append("phase_skipped")
    elif residues and not (start_missing or segment) and codes[:3] not in _START:
        reasons.append("non_atg_start")
        # Without a leader the true start may lie before the RNA.
        if start > 0 and codes[:3] in _NEAR_COGNATE:
            residues = "M" + residues[1:]
    if "*" in residues:
        reasons.append("internal_stop")
    if mitochondrial:
        reasons.append("mitochondrial_code")
    return Coding(start, end, phase, residues, tuple(dict.fromkeys(reasons)))
