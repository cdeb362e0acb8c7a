"""Bootstrap over genes: the isoforms of one gene are not independent, so genes are drawn, never transcripts.

All predictions of one evaluation are scored on the same resamples, so that differences between them are paired.
Shapes: R resamples, G genes, N transcripts, T tissues.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.evaluate_model.metrics import GeneGroups, defined_mean, divided

# Rows of resamples that are worked on at a time: bounds memory, changes nothing.
CHUNK_RESAMPLES = 64


@dataclass(frozen=True)
class Interval:
    """A figure with its bootstrap interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


def gene_resamples(genes: int, resamples: int, seed: int) -> np.ndarray:
    """How often each gene is drawn in each resample: int16 (R, G), every row sums to G."""
    generator = np.random.default_rng(seed)
    counts = np.empty((resamples, genes), dtype=np.int16)
    for row in range(resamples):
        counts[row] = np.bincount(generator.integers(genes, size=genes), minlength=genes)
    return counts


def interval(value: float, samples: np.ndarray, confidence: float) -> Interval:
    """Percentile interval of bootstrap `samples` (R,) around a `value` computed on the whole data."""
    defined = samples[~np.isnan(samples)]
    if np.isnan(value) or len(defined) == 0:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(value), float(low), float(high))


def r2_samples(counts: np.ndarray, groups: GeneGroups, observed: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """R² per tissue on each resample: float64 (R, T).

    R² needs three sums per gene (residual squares, values, squares), so a resample is one matrix product.
    """
    # Centred, because SS_tot = Σy² − (Σy)² / n cancels digits where the mean is large.
    centred = observed.astype(np.float64) - observed.mean(axis=0, dtype=np.float64)
    residual = groups.sums((observed.astype(np.float64) - predicted) ** 2)
    total, square = groups.sums(centred), groups.sums(centred**2)
    smallest_real_variance = 1e-12 * np.maximum(square.sum(axis=0), 1e-300)
    result = np.empty((len(counts), observed.shape[1]))
    for start in range(0, len(counts), CHUNK_RESAMPLES):
        weight = counts[start : start + CHUNK_RESAMPLES].astype(np.float64)
        drawn = weight @ groups.sizes
        ss_total = weight @ square - (weight @ total) ** 2 / drawn[:, None]
        ss_total = np.where(ss_total > smallest_real_variance, ss_total, 0.0)
        result[start : start + CHUNK_RESAMPLES] = 1 - divided(weight @ residual, ss_total)
    return result


def gene_mean_samples(counts: np.ndarray, gene_values: np.ndarray) -> np.ndarray:
    """Mean of one value per gene (G,), NaN = not defined for it, on each resample: float64 (R,)."""
    defined = ~np.isnan(gene_values)
    weight = counts[:, defined].astype(np.float64)
    return divided(weight @ gene_values[defined], weight.sum(axis=1))


def spearman_samples(counts: np.ndarray, groups: GeneGroups, observed: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Spearman per tissue on each resample: float64 (R, T); NaN where either side is constant.

    The resample is never sorted: in the order of the whole data, cumulated draws are its ranks.
    """
    result = np.empty((len(counts), observed.shape[1]))
    columns = [
        (_TieRuns.of(observed[:, tissue]), _TieRuns.of(predicted[:, tissue])) for tissue in range(observed.shape[1])
    ]
    for start in range(0, len(counts), CHUNK_RESAMPLES):
        weight = counts[start : start + CHUNK_RESAMPLES][:, groups.gene].astype(np.int32)
        weight_f32 = weight.astype(np.float32)
        for tissue, (first, second) in enumerate(columns):
            correlation = _weighted_correlation(weight_f32, first.ranks(weight), second.ranks(weight))
            result[start : start + CHUNK_RESAMPLES, tissue] = correlation
    return result


def _weighted_correlation(weight: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlation of centred ranks (r, N) weighted by draws (r, N): float64 (r,); NaN where either is constant."""
    covariance, first_square, second_square = (
        np.einsum("rn,rn->r", weight * one, other).astype(np.float64)
        for one, other in ((first, second), (first, first), (second, second))
    )
    # Scaled ranks run from −1/2 to 1/2: below this, all draws share one rank.
    constant = np.minimum(first_square, second_square) <= 1e-7 * weight.sum(axis=1, dtype=np.float64)
    return np.where(constant, np.nan, covariance / np.sqrt(np.where(constant, 1.0, first_square * second_square)))


@dataclass(frozen=True)
class _TieRuns:
    """A column of N values in sorted order: `order` sorts it, `begin` and `end` (runs,) bound equal values, `run` (N,)
    is the run that each transcript, in its original place, belongs to."""

    order: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    run: np.ndarray

    @classmethod
    def of(cls, column: np.ndarray) -> _TieRuns:
        order = np.argsort(column, kind="stable")
        value = column[order]
        new_run = np.concatenate([[True], value[1:] != value[:-1]])
        begin = np.flatnonzero(new_run)
        run = np.empty(len(order), dtype=np.int64)
        run[order] = np.cumsum(new_run) - 1
        return cls(order, begin, np.append(begin[1:], len(order)), run)

    def ranks(self, weight: np.ndarray) -> np.ndarray:
        """Mid-ranks of the drawn values, shifted to mean 0, divided by the draws: float32 (r, N) of draws (r, N)."""
        # Integers: a running sum of floats waits for each addition and takes ten times as long.
        cumulated = np.zeros((len(weight), weight.shape[1] + 1), dtype=np.int32)
        np.cumsum(weight[:, self.order], axis=1, out=cumulated[:, 1:])
        # A run that holds draws a+1 … b has mid-rank (a + b + 1) / 2; the mean of all ranks is (n + 1) / 2.
        middle = cumulated[:, self.begin] + cumulated[:, self.end] - cumulated[:, -1:]
        scale = (0.5 / cumulated[:, -1:]).astype(np.float32)
        return (middle.astype(np.float32) * scale)[:, self.run]


def tissue_mean_interval(values: np.ndarray, samples: np.ndarray, confidence: float) -> Interval:
    """Interval of the mean over defined tissues, from values (T,) and resampled values (R, T)."""
    return interval(float(defined_mean(values)), defined_mean(samples, axis=1), confidence)
