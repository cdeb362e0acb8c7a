"""All metrics of one prediction, each with its interval; every prediction is scored on the same resampled genes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.evaluate_model.bootstrap import (
    Interval,
    gene_mean_samples,
    gene_resamples,
    interval,
    r2_samples,
    spearman_samples,
)
from components.evaluate_model.derived_metrics import gene_totals, share_distance, tissue_specificity
from components.evaluate_model.metrics import (
    GeneGroups,
    defined_mean,
    divided,
    profile_correlation,
    r2_per_tissue,
    ranks_isoforms,
    skill,
    spearman_per_tissue,
    within_gene_spearman,
    within_gene_top1,
)

# Figures of a prediction that are means over tissues or genes: name in metrics.json and heading in tables.
HEADINGS = {
    "r2": "R²",
    "spearman": "Spearman",
    "within_gene_spearman": "Isoform Spearman",
    "within_gene_top1": "Isoform top-1",
    "profile_correlation": "Profile corr.",
}
# Figures of what follows from the predictions; a smaller distance of shares is better.
DERIVED_HEADINGS = {
    "share_distance": "Share distance",
    "tau_spearman": "tau Spearman",
    "gene_total_r2": "Gene-total R²",
}


@dataclass(frozen=True)
class Scores:
    """The figures of one prediction.

    `means` by name in `HEADINGS` and `DERIVED_HEADINGS`; `r2` and `spearman` hold one interval per tissue. `r2_draws`:
    float64 (R, T), R² on each resample, for paired differences.
    """

    means: dict[str, Interval]
    r2: tuple[Interval, ...]
    spearman: tuple[Interval, ...]
    r2_draws: np.ndarray

    def to_json(self, tissues: tuple[str, ...] = ()) -> dict[str, Any]:
        """Figures as JSON data, per tissue too where `tissues` names them; undefined ones are null."""
        data: dict[str, Any] = {name: interval_json(figure) for name, figure in self.means.items()}
        if tissues:
            data["per_tissue"] = {
                tissue: {"r2": interval_json(self.r2[index]), "spearman": interval_json(self.spearman[index])}
                for index, tissue in enumerate(tissues)
            }
        return data


class Scorer:
    """Scores predictions for N test transcripts against their labels (N, T)."""

    def __init__(
        self,
        observed: np.ndarray,
        groups: GeneGroups,
        *,
        resamples: int,
        rank_resamples: int,
        confidence: float,
        seed: int,
    ) -> None:
        self.observed = observed
        self.groups = groups
        self.confidence = confidence
        self.counts = gene_resamples(len(groups.sizes), resamples, seed)
        self.rank_resamples = min(rank_resamples, resamples)
        # Each gene as a row of its own, for what is measured on gene totals.
        self._genes = GeneGroups.of(list(groups.names))
        _, chance = within_gene_top1(observed, observed, groups)
        self.top1_chance = float(defined_mean(defined_mean(chance, axis=1)))
        self.rankable_genes = int((~np.isnan(chance)).any(axis=1).sum())

    def score(self, predicted: np.ndarray) -> Scores:
        """All figures of a prediction (N, T), which must be finite."""
        r2 = r2_per_tissue(self.observed, predicted)
        r2_draws = r2_samples(self.counts, self.groups, self.observed, predicted)
        spearman = spearman_per_tissue(self.observed, predicted)
        rank_counts = self.counts[: self.rank_resamples]
        spearman_draws = spearman_samples(rank_counts, self.groups, self.observed, predicted)
        ranking = defined_mean(within_gene_spearman(self.observed, predicted, self.groups), axis=1)
        if not ranks_isoforms(predicted, self.groups):
            ranking = np.full_like(ranking, np.nan)
        top1 = defined_mean(within_gene_top1(self.observed, predicted, self.groups)[0], axis=1)
        return Scores(
            means={
                "r2": self.interval(float(defined_mean(r2)), defined_mean(r2_draws, axis=1)),
                "spearman": self._spearman_mean(spearman, spearman_draws),
                "within_gene_spearman": self._gene_mean(ranking),
                "within_gene_top1": self._gene_mean(top1),
                "profile_correlation": self._gene_mean(self._profile_of_gene(predicted)),
                "share_distance": self._gene_mean(
                    defined_mean(share_distance(self.observed, predicted, self.groups), axis=1)
                ),
                "tau_spearman": self._tau_spearman(predicted),
                "gene_total_r2": self._gene_total_r2(predicted),
            },
            r2=self._per_tissue(r2, r2_draws),
            spearman=self._per_tissue(spearman, spearman_draws),
            r2_draws=r2_draws,
        )

    def _profile_of_gene(self, predicted: np.ndarray) -> np.ndarray:
        profile = profile_correlation(self.observed, predicted)
        known = (~np.isnan(profile)).astype(np.float64)
        return divided(self.groups.sums(skill(profile)), self.groups.sums(known))

    def _tau_spearman(self, predicted: np.ndarray) -> Interval:
        """Spearman over transcripts of observed and predicted tissue specificity."""
        observed = tissue_specificity(self.observed)
        known = ~np.isnan(observed)
        if not known.any():
            return self.interval(float("nan"), np.full(1, np.nan))
        # Predicted to be expressed nowhere: specific to nothing.
        columns = (observed[known, None], skill(tissue_specificity(predicted))[known, None])
        part = GeneGroups.of([self.groups.names[gene] for gene in self.groups.gene[known]])
        kept = np.isin(np.array(self.groups.names, dtype=object), np.array(part.names, dtype=object))
        draws = spearman_samples(self.counts[: self.rank_resamples, kept], part, *columns)
        return self.interval(float(spearman_per_tissue(*columns)[0]), draws[:, 0])

    def _gene_total_r2(self, predicted: np.ndarray) -> Interval:
        """Mean over tissues of the R² of gene totals."""
        totals = gene_totals(self.observed, self.groups), gene_totals(predicted, self.groups)
        draws = defined_mean(r2_samples(self.counts, self._genes, *totals), axis=1)
        return self.interval(float(defined_mean(r2_per_tissue(*totals))), draws)

    def gain(self, scores: Scores, other: Scores) -> Interval:
        """R²(`scores`) − R²(`other`), means over tissues, on the same resampled genes."""
        value = scores.means["r2"].value - other.means["r2"].value
        return self.interval(value, defined_mean(scores.r2_draws - other.r2_draws, axis=1))

    def r2_lost(self, scores: Scores, changed: np.ndarray) -> Interval:
        """R²(`scores`) − R² of other predictions (N, T), means over tissues, without their other figures."""
        value = scores.means["r2"].value - float(defined_mean(r2_per_tissue(self.observed, changed)))
        draws = scores.r2_draws - r2_samples(self.counts, self.groups, self.observed, changed)
        return self.interval(value, defined_mean(draws, axis=1))

    def tissue_gains(self, scores: Scores, other: Scores) -> tuple[Interval, ...]:
        """R²(`scores`) − R²(`other`) of each tissue, on the same resampled genes."""
        values = np.array([one.value - two.value for one, two in zip(scores.r2, other.r2, strict=True)])
        return self._per_tissue(values, scores.r2_draws - other.r2_draws)

    def _per_tissue(self, values: np.ndarray, draws: np.ndarray) -> tuple[Interval, ...]:
        return tuple(self.interval(float(value), draws[:, index]) for index, value in enumerate(values))

    def interval(self, value: float, draws: np.ndarray) -> Interval:
        """The interval of a figure from its values on resamples (R,)."""
        return interval(value, draws, self.confidence)

    def _gene_mean(self, gene_values: np.ndarray) -> Interval:
        return self.interval(float(defined_mean(gene_values)), gene_mean_samples(self.counts, gene_values))

    def _spearman_mean(self, values: np.ndarray, draws: np.ndarray) -> Interval:
        """Mean over tissues whose labels vary; a tissue predicted as constant has no skill, and all of them no mean."""
        if np.isnan(values).all():
            return self.interval(float("nan"), draws[:, 0])
        varies = np.ptp(self.observed, axis=0) > 0
        return self.interval(float(skill(values[varies]).mean()), skill(draws[:, varies]).mean(axis=1))


def interval_json(figure: Interval) -> dict[str, float | None]:
    """An interval as JSON data, undefined figures null."""
    return {"value": number_json(figure.value), "low": number_json(figure.low), "high": number_json(figure.high)}


def number_json(value: float) -> float | None:
    """A figure as JSON data: null where undefined, and six decimals, so that the last bits of a sum do not show."""
    return round(float(value), 6) if math.isfinite(value) else None
