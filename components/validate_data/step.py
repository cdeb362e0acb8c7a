"""The validation step: checks the raw files, reports, and stops the run where they are not fit to use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.artifacts import canonical_json, digest_of, write_artifact
from components.params import Params
from components.raw_data import RAW_NAMES
from components.validate_data.figures import raw_plots
from components.validate_data.raw import RawFrames, read_raw
from components.validate_data.report import checks_page
from components.validate_data.runner import Result, blocking_ones, run_checks
from components.validate_data.suites import INPUT_OF_SUITE, KEYS, all_checks
from components.work_folders import work_folder
from model.errors import InputError

KIND = "validation"
RESULT_SCHEMA_VERSION = 1


def run(inputs: Mapping[str, Path], params: Params, out: Path, work: Path) -> None:
    """Check the raw files `inputs` (genome, annotation, expression, sample_attributes); write the result at `out`.

    Where a check of severity "block" fails, nothing is written at `out`: the report lies below `work`, and the
    `InputError` that is raised says where. Warnings are reported and stop nothing.
    """
    reading = params.extract.model_dump(mode="json", include={"id_matching", "tissue_column", "tissues"})
    config = {**params.config("validate_data"), "extract": reading}
    with write_artifact(out, kind=KIND, inputs=inputs, config=config) as writer:
        scratch = work_folder(work, "validate_data", inputs, config)
        raw = read_raw(inputs, params.extract, scratch)
        results = run_checks(all_checks(params.validate_data), raw.frames, KEYS)
        blocking = blocking_ones(results)
        folder = scratch if blocking else writer.payload
        _write(folder, results, raw, {name: digest_of(inputs[name]) for name in RAW_NAMES})
        if blocking:
            raise _blocked(blocking, raw, inputs, folder / "report.html")


def _write(folder: Path, results: Sequence[Result], raw: RawFrames, digests: Mapping[str, str]) -> None:
    content: dict[str, Any] = {
        "schema_version": RESULT_SCHEMA_VERSION,
        "passed": not blocking_ones(results),
        "simulated": raw.simulated,
        "counts": raw.counts(),
        "checks": list(results),
    }
    (folder / "result.json").write_text(canonical_json(content), encoding="utf-8")
    page = checks_page(
        title="Checks of the raw data",
        lead="Genome, annotation, expression, sample attributes.",
        results=results,
        counts=raw.counts(),
        simulated=raw.simulated,
        plots=raw_plots(raw),
        digests=digests,
    )
    (folder / "report.html").write_text(page, encoding="utf-8")


def _blocked(blocking: Sequence[Result], raw: RawFrames, inputs: Mapping[str, Path], report: Path) -> InputError:
    """The first problem, told as precisely as it is known, and where all of them are shown."""
    others = f" ({len(blocking) - 1} more checks failed)" if len(blocking) > 1 else ""
    more = f"All that was found{others}: {report}"
    if raw.problems:
        problem = next(iter(raw.problems.values()))
        return InputError(
            where=problem.where, expected=problem.expected, found=problem.found, fix=f"{problem.fix} {more}"
        )
    first = blocking[0]
    offender = dict(first["offenders"][0]) if first["offenders"] else {}
    line = f", line {offender.pop('line')}" if "line" in offender else ""
    example = "; first: " + ", ".join(f"{key} {value}" for key, value in offender.items()) if offender else ""
    return InputError(
        where=f"{inputs[INPUT_OF_SUITE[first['suite']]]}{line}, {first['suite']} check {first['name']!r}",
        expected=first["expected"],
        found=first["observed"] + example,
        fix=more,
    )
