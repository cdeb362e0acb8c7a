"""Runs checks with Great Expectations, in a context that lives in memory and talks to nobody."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.validate_data.suites import Check

if TYPE_CHECKING:
    import pandas as pd

Result = dict[str, Any]
MAX_OFFENDERS = 10
# Shown with a record's name and its value, where the frame has it.
_BESIDE = ("line", "first")


def run_checks(checks: Sequence[Check], frames: Mapping[str, pd.DataFrame], keys: Mapping[str, str]) -> list[Result]:
    """Results of all checks whose frame and column are there, in their order, as JSON data.

    `keys[frame]` is the column that names a record of the frame. A check that cannot be computed raises RuntimeError.
    """
    # Read once, when the package is imported: no usage statistics leave this machine.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    project = DataContextConfig(
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
        # By default a folder for its own documentation is made below the temporary one, and left there.
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
    )
    context = gx.get_context(mode="ephemeral", project_config=project)
    source = context.data_sources.add_pandas("raw")
    outcomes: dict[int, Result] = {}
    numbered = [(number, check) for number, check in enumerate(checks) if _can_be_asked(check, frames)]
    for frame in dict.fromkeys(check.frame for _, check in numbered):
        suite = gx.ExpectationSuite(
            name=frame, expectations=[_expectation(number, check) for number, check in numbered if check.frame == frame]
        )
        definition = source.add_dataframe_asset(frame).add_batch_definition_whole_dataframe("all")
        batch = definition.get_batch(batch_parameters={"dataframe": frames[frame]})
        form = {
            "result_format": "SUMMARY",
            "partial_unexpected_count": MAX_OFFENDERS,
            "unexpected_index_column_names": [keys[frame], *(name for name in _BESIDE if name in frames[frame])],
        }
        for found in batch.validate(suite, result_format=form).results:
            config: Any = found.expectation_config
            number = int(config.meta["check"])
            outcomes[number] = _outcome(checks[number], found, len(frames[frame]), keys[frame])
    return [outcomes[number] for number in sorted(outcomes)]


def blocking_ones(results: Sequence[Result]) -> list[Result]:
    """Results that stop the run."""
    return [result for result in results if not result["passed"] and result["severity"] == "block"]


def _can_be_asked(check: Check, frames: Mapping[str, pd.DataFrame]) -> bool:
    column = check.arguments.get("column")
    return check.frame in frames and (column is None or column in frames[check.frame])


def _expectation(number: int, check: Check) -> Any:
    import great_expectations.expectations as expectations

    severity = "critical" if check.severity == "block" else "warning"
    return getattr(expectations, check.expectation)(**check.arguments, severity=severity, meta={"check": number})


def _outcome(check: Check, found: Any, rows: int, key: str) -> Result:
    details = found.result
    if not {"unexpected_count", "observed_value"} & details.keys():
        raise RuntimeError(f"{check.suite}: {check.name}: {found.exception_info}")
    return {
        "suite": check.suite,
        "name": check.name,
        "severity": check.severity,
        "passed": bool(found.success),
        "expected": check.expected,
        "observed": _observed(details, rows),
        "offenders": [_offender(entry, key) for entry in details.get("partial_unexpected_index_list") or []],
    }


def _observed(details: Mapping[str, Any], rows: int) -> str:
    if "unexpected_count" not in details:
        return f"{int(details['observed_value']):,}"
    count = int(details["unexpected_count"])
    # Values that are missing are not looked at by most expectations; where they are the point, they are counted.
    return f"{count:,} of {rows:,} are not so ({count / max(rows, 1):.1%})" if count else f"all {rows:,}"


def _offender(entry: Mapping[str, Any], key: str) -> dict[str, str]:
    """The record's name and the values that were found, as text."""
    return {name: _text(value) for name, value in sorted(entry.items(), key=lambda item: item[0] != key)}


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "not given" if value != value else f"{value:,.4g}"
    return "not given" if value is None else str(value)
