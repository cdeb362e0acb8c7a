"""From an annotated CDS to a protein: phase, genetic code, start and stop codons, selenocysteine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.sequences import MITOCHONDRIAL_CODE, STANDARD_CODE, letters_of, translate

# Codons from which translation starts with methionine besides ATG: one base away from it (Kearse & Wilusz 2017).
NEAR_COGNATE = frozenset(
    ("CTG", "GTG", "TTG", "ACG", "AAG", "AGG", "ATA", "ATC", "ATT"),
)
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
    rna: np.ndarray,
    cds: tuple[int, int],
    phase: int,
    *,
    coding_codes: np.ndarray | None = None,
    selenocysteines: Sequence[int] = (),
    mitochondrial: bool = False,
    start_missing: bool = False,
    segment: bool = False,
) -> Coding:
    """Translate the CDS [start, end) of RNA codes (L,), given with or without its stop codon.

    `coding_codes` replaces rna[start:end] where coding pieces skip or repeat bases. `selenocysteines` are offsets of
    codons in the RNA. `segment` marks immunoglobulin and T-cell receptor parts, which have no start of their own.
    """
    start, end = cds
    codes = rna[start:end] if coding_codes is None else coding_codes
    code = MITOCHONDRIAL_CODE if mitochondrial else STANDARD_CODE
    residues = bytearray(translate(codes[phase:], code), "ascii")
    reasons = []
    for offset in selenocysteines:
        index, rest = divmod(offset - start - phase, 3)
        if not rest and 0 <= index < len(residues) and residues[index] == ord("*"):
            residues[index] = ord("U")
            reasons.append("selenocysteine")
    leftover = (len(codes) - phase) % 3
    stop_included = not leftover and residues.endswith(b"*")
    if stop_included:
        residues.pop()
        end -= STOP_NT
    if leftover:
        reasons.append(_leftover_reason(codes[-leftover:], mitochondrial))
    elif not stop_included and translate(rna[end : end + STOP_NT], code) != "*":
        reasons.append("no_stop_codon")
    if phase:
        reasons.append("phase_skipped")
    elif not start_missing and not segment:
        _read_start(residues, letters_of(codes[:3]), reasons, leader=start > 0)
    if b"*" in residues:
        reasons.append("internal_stop")
    if mitochondrial:
        reasons.append("mitochondrial_code")
    return Coding(start, end, phase, residues.decode("ascii"), tuple(dict.fromkeys(reasons)))


def _leftover_reason(bases: np.ndarray, mitochondrial: bool) -> str:
    # Many mitochondrial stops are T or TA in the genome, made TAA by the tail.
    completed = mitochondrial and letters_of(bases) in ("T", "TA")
    return "stop_completed_by_polyadenylation" if completed else "partial_last_codon"


def _read_start(residues: bytearray, codon: str, reasons: list[str], *, leader: bool) -> None:
    """The initiator brings methionine to any start codon; without a leader the true start may lie before the RNA."""
    if codon == "ATG" or not residues:
        return
    reasons.append("non_atg_start")
    if leader and codon in NEAR_COGNATE:
        residues[0] = ord("M")
