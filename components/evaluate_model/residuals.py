"""Calibration of the predictions: is what is predicted, on average, what is observed?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from components.evaluate_model.bootstrap import Interval
from components.evaluate_model.metrics import GeneGroups, divided
from components.evaluate_model.scores import Scorer, interval_json, number_json

BINS = 10


@dataclass(frozen=True)
class CalibrationBin:
    """Values predicted in one tenth of the range of ranks: their mean, and the observed mean with its interval."""

    predicted: float
    observed: Interval
    residual_sd: float


@dataclass(frozen=True)
class Calibration:
    """`slope`, `intercept`: of observed on predicted, all transcripts and tissues; 1 and 0 where calibrated."""

    slope: Interval
    intercept: float
    bins: tuple[CalibrationBin, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "slope": interval_json(self.slope),
            "intercept": number_json(self.intercept),
            "bins": [
                {
                    "predicted": number_json(item.predicted),
                    "observed": interval_json(item.observed),
                    "residual_sd": number_json(item.residual_sd),
                }
                for item in self.bins
            ],
        }


def calibration(scorer: Scorer, predicted: np.ndarray) -> Calibration:
    """Compare predictions (N, T) with labels, in tenths of the predictions, on the scorer's resampled genes."""
    observed, groups = scorer.observed.astype(np.float64), scorer.groups
    predicted = predicted.astype(np.float64)
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, BINS + 1)))
    which = np.clip(np.searchsorted(edges, predicted, side="right") - 1, 0, max(0, len(edges) - 2))
    bins = [_bin(scorer, observed, predicted, which == number) for number in range(int(which.max()) + 1)]
    return Calibration(*_line(scorer, observed, predicted, groups), tuple(item for item in bins if item is not None))


def _bin(scorer: Scorer, observed: np.ndarray, predicted: np.ndarray, inside: np.ndarray) -> CalibrationBin | None:
    if not inside.any():
        return None
    total = scorer.groups.sums(np.where(inside, observed, 0.0).sum(axis=1))
    count = scorer.groups.sums(inside.sum(axis=1))
    weight = scorer.counts.astype(np.float64)
    draws = divided(weight @ total, weight @ count)
    return CalibrationBin(
        predicted=float(predicted[inside].mean()),
        observed=scorer.interval(float(observed[inside].mean()), draws),
        residual_sd=float((observed - predicted)[inside].std()),
    )


def _line(scorer: Scorer, observed: np.ndarray, predicted: np.ndarray, groups: GeneGroups) -> tuple[Interval, float]:
    """Slope with its interval, and intercept, of the least-squares line of observed on predicted."""
    # Centred, because the sums below cancel digits where means are large.
    x, y = predicted - predicted.mean(), observed - observed.mean()
    sums = [groups.sums(part.sum(axis=1)) for part in (x, y, x * y, x * x)]
    weight = scorer.counts.astype(np.float64)
    count = weight @ groups.sizes * observed.shape[1]
    sx, sy, sxy, sxx = (weight @ part for part in sums)
    variance = sxx - sx**2 / count
    smallest = 1e-12 * max(1.0, float((predicted**2).sum()))
    draws = divided(sxy - sx * sy / count, np.where(variance > smallest, variance, 0.0))
    whole = float((x * x).sum())
    slope = float((x * y).sum()) / whole if whole > smallest else float("nan")
    return scorer.interval(slope, draws), float(observed.mean() - slope * predicted.mean())
