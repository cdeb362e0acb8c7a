"""Calibrated intervals around predictions, as the evaluation stored them beside the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.errors import InputError
from serving.schema import Interval, IntervalMethod


class Intervals:
    """Intervals of each tissue: a prediction of log1p TPM ± the tissue's half-width; none where it has no half-width.

    `record` is intervals.json of the evaluation (docs/evaluation.md). Raises `InputError` where it does not fit the
    model's tissues.
    """

    def __init__(self, record: Mapping[str, Any], tissues: Sequence[str]) -> None:
        self.described = IntervalMethod(
            method=str(record["method"]), coverage=float(record["level"]), unit=str(record["coverage"])
        )
        widths = record["half_width"]
        # A package lists tissues in its own order.
        if set(widths) != set(tissues):
            raise InputError(
                where="package/intervals.json",
                expected="intervals of the model's tissues",
                found=f"{len(widths)} tissues, {len(set(widths) - set(tissues))} of them others",
                fix="Evaluate the model again, then package it.",
            )
        # null: too few calibration genes for the level.
        given = [widths[tissue] for tissue in tissues]
        self._half_width = np.array([np.nan if width is None else width for width in given], dtype=np.float64)

    def around(self, log1p_tpm: np.ndarray) -> list[Interval | None]:
        """The interval of each tissue around predictions (tissues,); never below 0 TPM."""
        low = np.maximum(log1p_tpm - self._half_width, 0.0)
        high = np.maximum(log1p_tpm + self._half_width, 0.0)
        columns = zip(low, high, np.expm1(low), np.expm1(high), strict=True)
        return [
            None
            if np.isnan(a)
            else Interval(low_log1p_tpm=float(a), high_log1p_tpm=float(b), low_tpm=float(c), high_tpm=float(d))
            for a, b, c, d in columns
        ]
