"""Paired comparisons of configurations: the same genes and the same seeds on both sides.

R resamples, S seeds, G genes, T tissues. A resample draws genes and, where there are several, seeds: both are samples
of what could have been. Configurations are paired by seed; differences are of R², mean over tissues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.evaluate_model.bootstrap import Interval, gene_resamples, interval, r2_samples
from components.evaluate_model.metrics import defined_mean
from components.experiments.results import SuiteResults

BOOTSTRAP_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`first` − `second` in R².

    `difference` has the interval asked for, `narrow` the 90 % one that equivalence is judged by. `p_genes_seeds`: two-
    sided, from the resamples. `p_seeds`: paired t over seeds, None with fewer than two. `p_holm`: `p_genes_seeds`
    corrected for all comparisons of the suite. `per_tissue`: intervals, one per tissue.
    """

    first: str
    second: str
    seeds: int
    difference: Interval
    narrow: Interval
    p_genes_seeds: float
    p_seeds: float | None
    p_holm: float
    per_tissue: tuple[Interval, ...]

    def equivalent(self, margin: float) -> bool:
        """Whether the 90 % interval lies within ±`margin` (two one-sided tests at 5 %)."""
        return -margin < self.narrow.low and self.narrow.high < margin


class Comparer:
    """Draws one set of resamples for a suite and compares its configurations on them."""

    def __init__(self, results: SuiteResults, *, resamples: int, confidence: float = 0.95) -> None:
        if results.groups is None or results.observed is None:
            raise ValueError("no trial is done")
        self.results, self.confidence = results, confidence
        self.counts = gene_resamples(len(results.groups.sizes), resamples, BOOTSTRAP_SEED)
        self._draws: dict[tuple[str, int], np.ndarray] = {}

    def compare_all(self, pairs: Sequence[tuple[str, str]]) -> list[Comparison]:
        """Compare each pair that has a seed in common, with Holm's correction over all of them."""
        found = [self._compare(*pair) for pair in pairs if self.results.shared_seeds(*pair)]
        corrected = holm([item.p_genes_seeds for item in found])
        return [Comparison(**{**vars(item), "p_holm": value}) for item, value in zip(found, corrected, strict=True)]

    def _compare(self, first: str, second: str) -> Comparison:
        seeds = self.results.shared_seeds(first, second)
        differences = np.stack([self._r2_draws(first, seed) - self._r2_draws(second, seed) for seed in seeds])
        drawn = _mean_over_drawn_seeds(differences)  # (R, T)
        values = np.stack([self._r2(first, seed) - self._r2(second, seed) for seed in seeds])  # (S, T)
        per_seed = defined_mean(values, axis=1)
        value, samples = float(per_seed.mean()), defined_mean(drawn, axis=1)
        tissue_values = defined_mean(values, axis=0)
        return Comparison(
            first=first,
            second=second,
            seeds=len(seeds),
            difference=interval(value, samples, self.confidence),
            narrow=interval(value, samples, 0.9),
            p_genes_seeds=two_sided_p(samples),
            p_seeds=_paired_t(per_seed),
            p_holm=float("nan"),
            per_tissue=tuple(
                interval(float(tissue_values[index]), drawn[:, index], self.confidence)
                for index in range(len(self.results.tissues))
            ),
        )

    def _r2(self, configuration: str, seed: int) -> np.ndarray:
        return self.results.trials[configuration][seed].r2

    def _r2_draws(self, configuration: str, seed: int) -> np.ndarray:
        """R² per tissue on each resample of genes, (R, T)."""
        key = (configuration, seed)
        if key not in self._draws:
            assert self.results.groups is not None
            assert self.results.observed is not None
            predicted = self.results.trials[configuration][seed].predicted
            self._draws[key] = r2_samples(self.counts, self.results.groups, self.results.observed, predicted)
        return self._draws[key]


def _mean_over_drawn_seeds(differences_SRT: np.ndarray) -> np.ndarray:
    """Mean over S seeds drawn anew, with replacement, for each of R resamples: (R, T)."""
    seeds, resamples, _ = differences_SRT.shape
    drawn = np.random.default_rng(BOOTSTRAP_SEED).integers(seeds, size=(seeds, resamples))
    return np.asarray(np.mean([differences_SRT[row, np.arange(resamples)] for row in drawn], axis=0))


def two_sided_p(samples: np.ndarray) -> float:
    """Twice the smaller share of resamples on either side of 0, at least what R resamples can tell."""
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return float("nan")
    below, above = (defined <= 0).sum(), (defined >= 0).sum()
    return float(min(1.0, 2 * (min(below, above) + 1) / (len(defined) + 1)))


def _paired_t(differences: np.ndarray) -> float | None:
    """Two-sided p of a t test that the mean over seeds is 0."""
    from scipy.stats import ttest_1samp

    if len(differences) < 2 or np.ptp(differences) == 0:
        return None
    return float(ttest_1samp(differences, 0.0).pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of p values, in their order; NaN stays."""
    order = sorted((index for index, value in enumerate(values) if not np.isnan(value)), key=lambda i: values[i])
    corrected = list(values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, values[index] * (len(order) - rank)))
        corrected[index] = highest
    return corrected
