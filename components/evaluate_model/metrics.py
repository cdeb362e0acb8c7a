"""The metrics of expression prediction over N transcripts and T tissues, in log1p TPM.

Where a metric is not defined (an observed tissue without variance, a constant prediction) it is NaN: tables show "n/a",
gates count it as no skill (`skill`). Where it is defined it equals scikit-learn's and scipy's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def r2_per_tissue(observed: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """R² = 1 − SS_res / SS_tot of each column of (N, T) arrays: float64 (T,); NaN where `observed` is constant."""
    observed = observed.astype(np.float64)
    residual = ((observed - predicted) ** 2).sum(axis=0)
    total = ((observed - observed.mean(axis=0)) ** 2).sum(axis=0)
    return 1 - divided(residual, np.where(np.ptp(observed, axis=0) > 0, total, 0.0))


def spearman_per_tissue(observed: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each column of (N, T) arrays, ties sharing ranks: float64 (T,).

    NaN where either column is constant.
    """
    from scipy.stats import rankdata

    return pearson(rankdata(observed, axis=0).T, rankdata(predicted, axis=0).T)


def pearson(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson correlation along the last axis of (..., N) arrays: float64 (...,); NaN where either is constant."""
    first, second = _centred(first), _centred(second)
    covariance = (first * second).sum(axis=-1)
    scale = np.sqrt((first**2).sum(axis=-1)) * np.sqrt((second**2).sum(axis=-1))
    return np.clip(divided(covariance, scale), -1, 1)


def _centred(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    if values.shape[-1] == 0:
        return values
    # A constant leaves rounding noise after its mean is taken off, which would look like variance.
    constant = np.ptp(values, axis=-1, keepdims=True) == 0
    return np.where(constant, 0.0, values - values.mean(axis=-1, keepdims=True))


def divided(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient as float64; NaN where the denominator is 0."""
    positive = denominator != 0
    return np.where(positive, numerator / np.where(positive, denominator, 1.0), np.nan)


def skill(values: np.ndarray) -> np.ndarray:
    """Undefined skill is no skill: NaN becomes 0. For gates, never for tables."""
    return np.nan_to_num(values, nan=0.0)


def defined_mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Mean over what is defined; NaN where nothing is."""
    defined = ~np.isnan(values)
    return divided(np.where(defined, values, 0.0).sum(axis=axis), defined.sum(axis=axis))


@dataclass(frozen=True)
class GeneGroups:
    """The G genes of N transcripts.

    `names`: G gene ids, sorted. `gene`: int64 (N,) index into them. `order`: int64 (N,) sorts transcripts by gene,
    keeping their order within one. `starts`: int64 (G,) where each gene begins in that order. `sizes`: int64 (G,).
    """

    names: tuple[str, ...]
    gene: np.ndarray
    order: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, gene_ids: list[str]) -> GeneGroups:
        """Group transcripts by their gene id."""
        names, gene, sizes = np.unique(np.array(gene_ids, dtype=object), return_inverse=True, return_counts=True)
        order = np.argsort(gene, kind="stable")
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        return cls(names=tuple(names.tolist()), gene=gene, order=order, starts=starts, sizes=sizes)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums over the transcripts of each gene: (N, ...) → (G, ...)."""
        return np.add.reduceat(values[self.order], self.starts, axis=0)


def within_gene_ranks(values: np.ndarray, groups: GeneGroups) -> np.ndarray:
    """Ranks from 1, ties sharing their mean, among the isoforms of one gene: float64 (N, T) of (N, T)."""
    ranks = np.empty(values.shape, dtype=np.float64)
    for tissue in range(values.shape[1]):
        column = values[:, tissue]
        order = np.lexsort((column, groups.gene))
        gene, value = groups.gene[order], column[order]
        new_run = np.concatenate([[True], (gene[1:] != gene[:-1]) | (value[1:] != value[:-1])])
        run = np.cumsum(new_run) - 1
        begin = np.flatnonzero(new_run)
        end = np.append(begin[1:], len(order))
        position = (begin + end + 1) / 2  # mean of the 1-based positions begin+1 … end
        ranks[order, tissue] = position[run] - groups.starts[gene]
    return ranks


def within_gene_spearman(observed: np.ndarray, predicted: np.ndarray, groups: GeneGroups) -> np.ndarray:
    """Spearman over the isoforms of each gene, per tissue: float64 (G, T).

    NaN where a gene has one isoform or its observed isoforms are all equal: there is nothing to rank. A constant
    prediction where there is something to rank scores 0: it names no isoform.
    """
    first, second = (_gene_centred(within_gene_ranks(values, groups), groups) for values in (observed, predicted))
    first_square, second_square = groups.sums(first**2), groups.sums(second**2)
    correlation = divided(groups.sums(first * second), np.sqrt(first_square * second_square))
    return np.where(first_square > 0, skill(correlation), np.nan)


def _gene_centred(ranks: np.ndarray, groups: GeneGroups) -> np.ndarray:
    # Ranks 1 … n with shared ties always have the mean (n + 1) / 2: exact, no rounding noise.
    return ranks - ((groups.sizes + 1) / 2)[groups.gene][:, None]


def ranks_isoforms(predicted: np.ndarray, groups: GeneGroups) -> bool:
    """Whether a prediction (N, T) tells any two isoforms of one gene apart."""
    ordered = predicted[groups.order]
    highest, lowest = (reduce.reduceat(ordered, groups.starts, axis=0) for reduce in (np.maximum, np.minimum))
    return bool((highest > lowest).any())


def within_gene_top1(observed: np.ndarray, predicted: np.ndarray, groups: GeneGroups) -> tuple[np.ndarray, np.ndarray]:
    """Whether the highest predicted isoform of each gene is its highest observed one, and the chance of a guess.

    Two float64 (G, T): the hit (a tie of k predicted tops counts 1 / k each) and the share of isoforms that are tops.
    NaN where a gene has one isoform or its observed isoforms are all equal.
    """
    observed_top = _is_top(observed, groups)
    predicted_top = _is_top(predicted, groups)
    tops, claimed = groups.sums(observed_top), groups.sums(predicted_top)
    sizes = groups.sizes[:, None]
    rankable = tops < sizes
    hit = groups.sums(observed_top * predicted_top) / claimed
    return np.where(rankable, hit, np.nan), np.where(rankable, tops / sizes, np.nan)


def _is_top(values: np.ndarray, groups: GeneGroups) -> np.ndarray:
    highest = np.maximum.reduceat(values[groups.order], groups.starts, axis=0)
    return (values == highest[groups.gene]).astype(np.float64)


def profile_correlation(observed: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Correlation over tissues of each transcript's profile after each tissue's own mean is taken off: float64 (N,).

    It asks in which tissues a transcript is high or low beyond what is usual there: a prediction that only knows
    tissue averages, or one whose tissues are permuted, scores about 0. NaN where the observed profile is constant;
    0 where only the predicted one is.
    """
    first, second = standardised_profiles(observed), standardised_profiles(predicted)
    correlation = np.clip((first * second).sum(axis=1), -1, 1)
    return np.where((first**2).sum(axis=1) > 0, correlation, np.nan)


def standardised_profiles(values: np.ndarray) -> np.ndarray:
    """Profiles (N, T) less each tissue's mean and each transcript's, scaled to length 1; 0 where one is constant."""
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    # Differences of float32 values this small are rounding, not a profile.
    varies = np.ptp(centred, axis=1, keepdims=True) > 1e-6
    centred = np.where(varies, centred - centred.mean(axis=1, keepdims=True), 0.0)
    return skill(divided(centred, np.sqrt((centred**2).sum(axis=1, keepdims=True))))
