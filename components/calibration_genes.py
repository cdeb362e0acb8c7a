"""Which genes of the validation split are set apart to calibrate intervals: early stopping never reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def calibration_genes(gene_ids: Iterable[str], share: float) -> set[str]:
    """`share` of the genes, rounded down, by a hash of their names: the same genes in training and in evaluation.

    A share below 1 leaves at least one gene to early stopping.
    """
    genes = sorted(set(gene_ids), key=lambda gene: (hashlib.sha256(f"calibration:{gene}".encode()).digest(), gene))
    return set(genes[: int(len(genes) * share)])
