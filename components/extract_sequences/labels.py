"""Labels: log1p of a tissue's mean TPM, how reliable they are, and their scale over the training split."""

from __future__ import annotations

import numpy as np

from components.extract_sequences.expression import Expression


def labels_of(expression: Expression, rows: np.ndarray) -> np.ndarray:
    """log1p of mean TPM for rows (N,) of the table: float32 (N, tissues)."""
    return np.log1p(expression.mean_tpm[rows]).astype(np.float32)


def reliability(expression: Expression, rows: np.ndarray) -> list[float | None]:
    """Split-half reliability of the labels by tissue, stepped up to all samples (Spearman-Brown): a ceiling of R².

    None where a tissue has one sample, or a half does not vary.
    """
    ceilings: list[float | None] = []
    with np.errstate(invalid="ignore"):
        halves = np.log1p(expression.half_means[:, rows])
    for first, second in zip(halves[0].T, halves[1].T, strict=True):
        varies = len(first) > 1 and np.isfinite(second).all() and first.std() > 0 and second.std() > 0
        if not varies:
            ceilings.append(None)
            continue
        correlation = float(np.corrcoef(first, second)[0, 1])
        ceilings.append(round(max(0.0, 2 * correlation / (1 + correlation)), 6) if correlation > -1 else 0.0)
    return ceilings


def scale(labels: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation by tissue of labels (N, tissues); a tissue that does not vary has deviation 1."""
    values = labels.astype(np.float64)
    deviation = values.std(axis=0)
    return values.mean(axis=0).tolist(), np.where(deviation > 0, deviation, 1.0).tolist()
