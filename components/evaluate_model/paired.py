"""A challenger against the champion on the same resampled genes: the gain, tissue by tissue too, and which got worse.

T tissues. Source of the correction: Holm, Scandinavian Journal of Statistics 1979.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from components.evaluate_model.bootstrap import Interval
from components.evaluate_model.metrics import defined_mean
from components.evaluate_model.scores import Scorer, Scores, interval_json, number_json


@dataclass(frozen=True)
class Comparison:
    """What the challenger gains over the champion.

    `gain`: R²(challenger) − R²(champion), mean over tissues. `tissue_gains`: the same, T tissues. `p_worse`: float64
    (T,), Holm-adjusted one-sided p that the tissue got worse.
    """

    gain: Interval
    tissue_gains: tuple[Interval, ...]
    p_worse: np.ndarray

    def worse(self, confidence: float) -> list[int]:
        """Tissues that are significantly worse at a familywise error of 1 − `confidence`."""
        return [int(index) for index in np.flatnonzero(self.p_worse <= 1 - confidence)]

    def to_json(self, tissues: tuple[str, ...]) -> dict[str, Any]:
        """The comparison as JSON data."""
        return {
            "r2_gained": interval_json(self.gain),
            "per_tissue": {
                tissue: {"r2_gained": interval_json(gain), "p_worse_holm": number_json(p)}
                for tissue, gain, p in zip(tissues, self.tissue_gains, self.p_worse, strict=True)
            },
        }


def compare(scorer: Scorer, challenger: Scores, champion: Scores) -> Comparison:
    """Compare two scores of one scorer: they share their resamples, so differences are paired by gene."""
    gains = scorer.tissue_gains(challenger, champion)
    draws = challenger.r2_draws - champion.r2_draws
    return Comparison(
        gain=scorer.gain(challenger, champion),
        tissue_gains=gains,
        p_worse=holm(_p_worse(np.array([gain.value for gain in gains]), draws)),
    )


def _p_worse(gains: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """One-sided p of "not worse" for gains (T,), with the standard error of their resamples (R, T); NaN stays NaN.

    By the normal distribution: counting resamples resolves nothing below 1 / R, which Holm's first step asks for.
    """
    from scipy.stats import norm

    centred = draws - defined_mean(draws, axis=0)
    error = np.sqrt(defined_mean(centred**2, axis=0))
    # Without an error, the sign decides; equal predictions gain 0 and are not worse.
    certain = np.where(gains < 0, -np.inf, np.where(np.isnan(gains), np.nan, np.inf))
    standardised = np.where(error > 0, gains / np.where(error > 0, error, 1.0), certain)
    return np.asarray(norm.cdf(standardised), dtype=np.float64)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down adjusted p-values: float64 (M,); a NaN stays NaN and does not count."""
    adjusted = np.full(len(p_values), np.nan)
    rows = np.flatnonzero(~np.isnan(p_values))
    order = rows[np.argsort(p_values[rows], kind="stable")]
    scaled = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled)) if len(order) else scaled
    return adjusted
