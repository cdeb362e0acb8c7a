"""Checking what extraction made, and comparing it with the dataset before: a report, and a stop where it is bad."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.artifacts import open_artifact, write_json
from components.extract_sequences.splits import SPLITS
from components.params import Params
from components.validate_data.dataset_figures import dataset_plots
from components.validate_data.drift import continuity_frame, drift_frame
from components.validate_data.report import checks_page
from components.validate_data.runner import Result, blocking_ones, run_checks
from components.validate_data.table_frames import Dataset, read_dataset
from components.validate_data.table_suites import KEYS, table_checks
from model.errors import InputError

CHECKS, REPORT = "checks.json", "report.html"


def check_dataset(
    payload: Path, params: Params, *, previous: Path | None, place: str, scratch: Callable[[], Path]
) -> None:
    """Check the table in `payload` and write checks.json and report.html into it.

    `previous` is a transcripts artifact to compare with. Where a check of severity "block" fails, the two are written
    into the folder that `scratch` gives instead, and the `InputError` that is raised, about the dataset of `place`,
    says so.
    """
    before = None if previous is None else read_dataset(open_artifact(previous, "transcripts").payload)
    dataset, results = checked(payload, params, before)
    blocking = blocking_ones(results)
    folder = scratch() if blocking else payload
    _write(folder, dataset, results, before)
    if blocking:
        raise _blocked(blocking, place, folder / REPORT)


def checked(payload: Path, params: Params, before: Dataset | None) -> tuple[Dataset, list[Result]]:
    """The dataset of a payload, and the results of all its checks."""
    dataset = read_dataset(payload)
    dataset.frames["proteins"] = dataset.rows[dataset.rows["has_protein"]]
    if before is not None:
        dataset.frames["drift"] = drift_frame(before, dataset)
        dataset.frames["continuity"] = continuity_frame(before, dataset)
    keys = {**KEYS, "proteins": KEYS["rows"]}
    return dataset, run_checks(table_checks(params.validate_data, params.extract), dataset.frames, keys)


def _write(folder: Path, dataset: Dataset, results: list[Result], before: Dataset | None) -> None:
    drift: list[dict[Any, Any]] = []
    if "drift" in dataset.frames:
        frame = dataset.frames["drift"].round(6)
        drift = frame.astype(object).where(frame.notna(), None).to_dict("records")
    facts = dataset.facts
    content = {
        "schema_version": 1,
        "passed": not blocking_ones(results),
        "simulated": facts["simulated"],
        "dataset_version": facts["dataset_version"],
        "previous_dataset_version": None if before is None else before.facts["dataset_version"],
        "checks": results,
        "drift": drift,
    }
    write_json(folder / CHECKS, content)
    counts = {
        "transcripts": f"{len(dataset.rows):,}",
        "genes": f"{facts['counts']['genes']:,}",
        "coding": f"{facts['counts']['coding_status'].get('coding', 0):,}",
        "tissues": f"{len(dataset.tissues)}",
        **{f"in {name}": f"{facts['counts']['rows_per_split'][name]:,}" for name in SPLITS},
    }
    page = checks_page(
        title="Checks of the extracted dataset",
        lead="Sequences, labels and splits, as they go to training.",
        results=results,
        counts=counts,
        simulated=facts["simulated"],
        plots=dataset_plots(dataset, before),
        digests={"dataset version": facts["dataset_version"]}
        | ({} if before is None else {"previous dataset version": before.facts["dataset_version"]}),
    )
    (folder / REPORT).write_text(page, encoding="utf-8")


def _blocked(blocking: list[Result], place: str, report: Path) -> InputError:
    first = blocking[0]
    examples = "; ".join(", ".join(f"{key} {value}" for key, value in item.items()) for item in first["offenders"][:3])
    others = f" ({len(blocking) - 1} more checks failed)" if len(blocking) > 1 else ""
    return InputError(
        where=f"the dataset for {place}, {first['suite']} check {first['name']!r}",
        expected=first["expected"],
        found=first["observed"] + (f"; first: {examples}" if examples else ""),
        fix=f"All that was found{others}: {report}",
    )
