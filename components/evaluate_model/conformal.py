"""Prediction intervals that cover as often as they say: split conformal prediction, one half-width per tissue.

Coverage is per gene: a transcript drawn at random from a gene drawn at random lies in its interval with at least the
stated probability, if test genes are exchangeable with the calibration genes. Isoforms of one gene are not independent,
so genes are the units: each weighs the same, and its transcripts share its weight (Lee, Barber & Willett,
"Distribution-free inference with hierarchical data", arXiv 2306.06342). The calibration genes are those of the
validation split that early stopping did not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from components.evaluate_model.metrics import GeneGroups, defined_mean
from components.evaluate_model.scores import number_json

INTERVALS_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Intervals:
    """`half_width`: float64 (T,), log1p TPM; NaN where there are too few genes for the level."""

    level: float
    half_width: np.ndarray
    genes: int
    transcripts: int

    def covered(self, observed: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Whether each label (N, T) lies in its interval: bool (N, T)."""
        return np.asarray(np.abs(observed.astype(np.float64) - predicted) <= self.half_width)

    def coverage(self, observed: np.ndarray, predicted: np.ndarray, groups: GeneGroups) -> tuple[np.ndarray, float]:
        """Coverage per gene of each tissue, float64 (T,), and coverage per transcript, mean over tissues."""
        inside = self.covered(observed, predicted).astype(np.float64)
        per_gene = (groups.sums(inside) / groups.sizes[:, None]).mean(axis=0)
        return np.where(np.isnan(self.half_width), np.nan, per_gene), float(inside.mean())


def calibrate(observed: np.ndarray, predicted: np.ndarray, groups: GeneGroups, level: float) -> Intervals:
    """Intervals from the absolute errors of calibration transcripts (N, T), which nothing was fitted or chosen on."""
    error = np.abs(observed.astype(np.float64) - predicted)
    genes = len(groups.sizes)
    # One more gene, the one that is asked about, could lie anywhere: its weight stands at infinity.
    weight = (1 / (groups.sizes * (genes + 1)))[groups.gene]
    width = np.array([_weighted_quantile(column, weight, level) for column in error.T])
    return Intervals(level, width, genes, len(observed))


def _weighted_quantile(values: np.ndarray, weight: np.ndarray, level: float) -> float:
    """The smallest value at which the cumulated weight reaches `level`; NaN where it never does."""
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(weight[order])
    place = int(np.searchsorted(cumulated, level - 1e-12))
    return float(values[order[place]]) if place < len(values) else float("nan")


def intervals_json(
    intervals: Intervals, tissues: tuple[str, ...], observed: np.ndarray, predicted: np.ndarray, groups: GeneGroups
) -> dict[str, Any]:
    """The content of intervals.json: what a server needs, and the coverage on the test split (docs/evaluation.md)."""
    per_gene, per_transcript = intervals.coverage(observed, predicted, groups)
    return {
        "schema_version": INTERVALS_SCHEMA_VERSION,
        "method": "split conformal prediction, absolute error, genes weigh equally",
        "level": intervals.level,
        "coverage": "per gene",
        "unit": "log1p TPM",
        "lower_bound": 0.0,
        "half_width": {tissue: number_json(width) for tissue, width in zip(tissues, intervals.half_width, strict=True)},
        "calibration": {"genes": intervals.genes, "transcripts": intervals.transcripts, "split": "valid"},
        "test_coverage": {
            "per_gene": number_json(float(defined_mean(per_gene))),
            "per_transcript": number_json(per_transcript),
            "per_gene_by_tissue": {tissue: number_json(share) for tissue, share in zip(tissues, per_gene, strict=True)},
        },
    }
