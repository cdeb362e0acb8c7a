"""Calibrated intervals around predictions, as the evaluation stored them beside the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.errors import InputError
from serving.schema import Interval, IntervalMethod


class Intervals:
    """Intervals of each tissue: a prediction of log1p TPM plus `low` and `high` (tissues,), log1p TPM.

    Raises `InputError` where the record does not fit the model's tissues.
    """

    def __init__(self, record: Mapping[str, Any], tissues: Sequence[str]) -> None:
        self.described = IntervalMethod(
            method=str(record["method"]), coverage=float(record["coverage"]), unit=str(record["unit"])
        )
        if list(record["tissues"]) != list(tissues):
            raise InputError(
                where="package/intervals.json",
                expected="intervals of the model's tissues",
                found=f"{len(record['tissues'])} other tissues",
                fix="Evaluate the model again, then package it.",
            )
        self._low = np.array(record["low_log1p_tpm"], dtype=np.float64)
        self._high = np.array(record["high_log1p_tpm"], dtype=np.float64)

    def around(self, log1p_tpm: np.ndarray) -> list[Interval]:
        """The interval of each tissue around predictions (tissues,); never below 0 TPM."""
        low = np.maximum(log1p_tpm + self._low, 0.0)
        high = np.maximum(log1p_tpm + self._high, 0.0)
        columns = zip(low, high, np.expm1(low), np.expm1(high), strict=True)
        return [
            Interval(low_log1p_tpm=float(a), high_log1p_tpm=float(b), low_tpm=float(c), high_tpm=float(d))
            for a, b, c, d in columns
        ]
