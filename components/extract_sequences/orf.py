"""Calling an open reading frame where the annotation is silent, as assembled isoforms are."""

from __future__ import annotations

import re

import numpy as np

from components.extract_sequences.coding import Coding
from components.sequences import MITOCHONDRIAL_CODE, STANDARD_CODE, translate

_ORF = re.compile(r"M[^*]*\*")


def longest_orf(rna: np.ndarray, min_residues: int, mitochondrial: bool = False) -> Coding | None:
    """The longest ATG-to-stop frame of RNA codes (L,), the first of equals, or None below `min_residues`."""
    code = MITOCHONDRIAL_CODE if mitochondrial else STANDARD_CODE
    best: tuple[int, int, str] | None = None
    for frame in range(3):
        for match in _ORF.finditer(translate(rna[frame:], code)):
            residues = len(match.group()) - 1
            start = frame + 3 * match.start()
            if residues >= min_residues and (best is None or (-residues, start) < best[:2]):
                best = (-residues, start, match.group()[:-1])
    if best is None:
        return None
    negative, start, protein = best
    end = start + 3 * -negative
    return Coding(start, end, 0, protein, ())
