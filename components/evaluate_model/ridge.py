"""Ridge regression from chunks of rows: the features are never held at once, and every penalty shares one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Chunks = Callable[[range], np.ndarray]
# Penalties per training row, on standardised features: decades, as each costs a factorisation.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class Ridge:
    """A fitted ridge: predictions are x @ weights + intercept. weights float64 (F, T), intercept (T,)."""

    penalty: float
    weights: np.ndarray
    intercept: np.ndarray

    def predict(self, features: np.ndarray) -> np.ndarray:
        """float32 (N, T) of features (N, F)."""
        return (features @ self.weights + self.intercept).astype(np.float32)


def fit_ridges(
    features: Chunks, chunks: Sequence[range], labels: np.ndarray, penalties: Sequence[float]
) -> list[Ridge]:
    """One ridge per penalty, on features standardised over the training rows.

    `features(rows)` gives float32 (rows, F); `labels` (N, T). A penalty p means sklearn's alpha = p · N.
    """
    from scipy.linalg import cho_factor, cho_solve

    gram, cross, feature_sum = _moments(features, chunks, labels)
    rows = len(labels)
    mean, label_mean = feature_sum / rows, labels.mean(axis=0, dtype=np.float64)
    gram -= rows * np.outer(mean, mean)
    cross -= rows * np.outer(mean, label_mean)
    variance = np.diag(gram) / rows
    # A column that hardly varies is rounding noise once its mean is taken off.
    varies = variance > 1e-9 * np.maximum(mean**2, 1e-12)
    scale = np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1.0)), 0.0)
    gram = gram * scale[:, None] * scale
    cross = cross * scale[:, None]
    ridges = []
    for penalty in penalties:
        factor = cho_factor(gram + np.diag(np.full(len(gram), penalty * rows)), check_finite=False)
        weights = cho_solve(factor, cross, check_finite=False) * scale[:, None]
        ridges.append(Ridge(penalty, weights, label_mean - mean @ weights))
    return ridges


def _moments(
    features: Chunks, chunks: Sequence[range], labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Σ xxᵀ (F, F), Σ xyᵀ (F, T) and Σ x (F,) over all rows, in float64."""
    gram = cross = feature_sum = np.zeros(1)
    for number, rows in enumerate(chunks):
        block = features(rows)
        if number == 0:
            gram = np.zeros((block.shape[1], block.shape[1]))
            cross, feature_sum = np.zeros((block.shape[1], labels.shape[1])), np.zeros(block.shape[1])
        gram += block.T @ block
        cross += block.T @ labels[rows.start : rows.stop]
        feature_sum += block.sum(axis=0, dtype=np.float64)
    return gram, cross, feature_sum
