"""Positional features of the Enformer: exponential, central-mask and gamma bases of signed distances, in float64."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

GammaBasis = Literal["per_distance", "per_basis"]


def positional_features(positions: int, features: int, gamma: GammaBasis) -> np.ndarray:
    """Features of the distances −(n−1)…n−1 of n positions: float64 (2n − 1, features).

    A third each of the three bases of |d|, then the same times sign(d). Source: Avsec et al. 2021, Methods.
    """
    distances = np.arange(1 - positions, positions, dtype=np.float64)
    bases = features // 6
    size = np.abs(distances)[:, None]
    table = np.concatenate(
        [
            _exponential_basis(size, positions, bases),
            _central_mask_basis(size, bases),
            gamma_basis(size, positions, bases, gamma),
        ],
        axis=1,
    )
    return np.concatenate([table, table * np.sign(distances)[:, None]], axis=1)


def _exponential_basis(size: np.ndarray, positions: int, bases: int) -> np.ndarray:
    half_lives = 2 ** np.linspace(3, math.log2(positions), bases)
    return np.asarray(np.exp2(-size / half_lives))


def _central_mask_basis(size: np.ndarray, bases: int) -> np.ndarray:
    widths = 2.0 ** np.arange(1, bases + 1) - 1
    return (widths > size).astype(np.float64)


def gamma_basis(size: np.ndarray, positions: int, bases: int, normalised: GammaBasis) -> np.ndarray:
    """Gamma densities of distances (rows, 1) → (rows, bases), scaled to a maximum of 1.

    Means run from n/bases to n, the deviation is n/(2·bases). Two published variants differ in what is scaled:
    "per_distance" each row over the bases, "per_basis" each column over the distances.
    """
    deviation = positions / (2 * bases)
    mean = np.linspace(positions / bases, positions, bases)
    concentration, rate = (mean / deviation) ** 2, mean / deviation**2
    normaliser = np.array([math.lgamma(value) for value in concentration]) - concentration * np.log(rate)
    with np.errstate(divide="ignore"):
        density = np.exp((concentration - 1) * np.log(size) - rate * size - normaliser) + 1e-8
    return np.asarray(density / density.max(axis=1 if normalised == "per_distance" else 0, keepdims=True))
