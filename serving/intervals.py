"""Calibrated intervals around predictions, as the evaluation stored them beside the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.errors import InputError
from serving.schema import Interval, IntervalMethod


class Intervals:
    """Intervals of each tissue: a prediction of log1p TPM plus or minus the tissue's half-width.

    `record` is intervals.json (docs/evaluation.md). Raises `InputError` where it does not fit the model's tissues.
    """

    def __init__(self, record: Mapping[str, Any], tissues: Sequence[str]) -> None:
        half_width = record["half_width"]
        if set(half_width) != set(tissues):
            raise InputError(
                where="package/intervals.json",
                expected="intervals of the model's tissues",
                found=f"{len(half_width)} other tissues",
                fix="Evaluate the model again, then package it.",
            )
        self.described = IntervalMethod(
            method=str(record["method"]),
            level=float(record["level"]),
            coverage=str(record["coverage"]),
            test_coverage=record.get("test_coverage", {}).get("per_gene"),
        )
        # A tissue with too few calibration genes for the level has none.
        values = [half_width[tissue] for tissue in tissues]
        self._half_width = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        self._has = ~np.isnan(self._half_width)
        self._floor = float(record.get("lower_bound", 0.0))

    def around(self, log1p_tpm: np.ndarray) -> list[Interval | None]:
        """The interval of each tissue around predictions (tissues,), None where it has none."""
        low = np.maximum(log1p_tpm - self._half_width, self._floor)
        high = np.maximum(log1p_tpm + self._half_width, self._floor)
        columns = (low, high, np.expm1(low), np.expm1(high))
        # Valid by construction: checking thirty of them again takes longer than making them.
        return [
            Interval.model_construct(low_log1p_tpm=start, high_log1p_tpm=end, low_tpm=low_tpm, high_tpm=high_tpm)
            if has
            else None
            for has, start, end, low_tpm, high_tpm in zip(
                self._has.tolist(), *(column.tolist() for column in columns), strict=True
            )
        ]
