"""Metrics of what follows from expression: isoform shares, tissue specificity, gene totals. Values are log1p TPM.

G genes, N transcripts, T tissues. Negative predictions are read as 0 TPM.
"""

from __future__ import annotations

import numpy as np

from components.evaluate_model.metrics import GeneGroups, divided


def tpm(values: np.ndarray) -> np.ndarray:
    """TPM of log1p TPM, never below 0: float64."""
    return np.expm1(np.maximum(values.astype(np.float64), 0))


def gene_totals(values: np.ndarray, groups: GeneGroups) -> np.ndarray:
    """log1p of the summed TPM of each gene's transcripts: float64 (G, T) of (N, T)."""
    return np.log1p(groups.sums(tpm(values)))


def isoform_shares(values: np.ndarray, groups: GeneGroups) -> np.ndarray:
    """Share of each transcript in its gene's TPM: float64 (N, T); even shares where the gene's total is 0."""
    level = tpm(values)
    shares = divided(level, groups.sums(level)[groups.gene])
    return np.where(np.isnan(shares), (1 / groups.sizes)[groups.gene][:, None], shares)


def share_distance(observed: np.ndarray, predicted: np.ndarray, groups: GeneGroups) -> np.ndarray:
    """Total variation between observed and predicted isoform shares, ½ Σ |s − ŝ|, from 0 to 1: float64 (G, T).

    NaN where a gene has one isoform, or none expressed in the tissue: there is nothing to share.
    """
    apart = np.abs(isoform_shares(observed, groups) - isoform_shares(predicted, groups))
    shared = (groups.sizes > 1)[:, None] & (groups.sums(tpm(observed)) > 0)
    return np.where(shared, groups.sums(apart) / 2, np.nan)


def tissue_specificity(values: np.ndarray) -> np.ndarray:
    """tau of each transcript over its T tissues, on log1p TPM: float64 (N,), 0 = the same everywhere, 1 = in one only.

    tau = Σ (1 − x / max x) / (T − 1) (Yanai et al., Bioinformatics 2005). NaN where a transcript is expressed
    nowhere, or there is one tissue.
    """
    level = np.maximum(values.astype(np.float64), 0)
    if level.shape[1] < 2:
        return np.full(len(level), np.nan)
    relative = divided(level, level.max(axis=1, keepdims=True))
    return (1 - relative).sum(axis=1) / (level.shape[1] - 1)
