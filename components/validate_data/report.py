"""The report of the data checks: one self-contained HTML page, what failed first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from components.html_page import embedded, facts, mark, page, section, table
from components.validate_data.figures import overview_figure, tissue_figure
from components.validate_data.runner import Result

if TYPE_CHECKING:
    from components.validate_data.raw import RawFrames

SIMULATED = "ids of simulated transcripts or samples were found: nothing here is a statement about biology."


def report_page(results: Sequence[Result], raw: RawFrames, digests: Mapping[str, str]) -> str:
    """The whole page as HTML; `digests` are the sha256 of the raw files by name."""
    suites = list(dict.fromkeys(result["suite"] for result in results))
    pieces = [
        "<h1>Checks of the raw data</h1>",
        '<p class="lead">Genome, annotation, expression, sample attributes.</p>',
    ]
    if raw.simulated:
        pieces.append(f'<div class="banner"><b>SIMULATED</b> — {escape(SIMULATED)}</div>')
    pieces.append(_verdict(results, raw))
    failed = [result for result in results if not result["passed"]]
    if failed:
        pieces.append(section("What failed", *(_failure(result) for result in failed)))
    pieces += _plots(raw)
    pieces += [_suite(suite, [result for result in results if result["suite"] == suite]) for suite in suites]
    rows = [("", [escape(name), f"<code>{escape(digest)}</code>"]) for name, digest in sorted(digests.items())]
    pieces.append(section("Files", table(["File", "sha256"], rows, text_columns=2)))
    return page("Checks of the raw data" + (" (simulated)" if raw.simulated else ""), pieces)


def _verdict(results: Sequence[Result], raw: RawFrames) -> str:
    blocking = [result for result in results if not result["passed"] and result["severity"] == "block"]
    warnings = [result for result in results if not result["passed"] and result["severity"] == "warn"]
    if blocking:
        heading, tone = "Blocked", "bad"
        lead = (
            f"{len(blocking)} of {len(results)} checks block the run: {', '.join(_title(item) for item in blocking)}."
        )
    elif warnings:
        heading, tone = "Passed with warnings", "warn"
        lead = f"{len(results) - len(warnings)} of {len(results)} checks passed; none that failed blocks the run."
    else:
        heading, tone = "Passed", "good"
        lead = f"All {len(results)} checks passed."
    card = section(heading, f"<p>{escape(lead)}</p>", facts([(figure, word) for word, figure in raw.counts().items()]))
    return card.replace("<section>", f'<section class="verdict {tone}">', 1)


def _title(result: Result) -> str:
    return f"{result['suite']}: {result['name']}"


def _mark(result: Result) -> str:
    if result["passed"]:
        return mark("pass", "good")
    return mark("block", "bad") if result["severity"] == "block" else mark("warn", "warn")


def _failure(result: Result) -> str:
    pieces = [
        f"<p>{_mark(result)} <b>{escape(_title(result))}</b><br>"
        f"Expected {escape(result['expected'])}; found {escape(result['observed'])}.</p>"
    ]
    offenders = result["offenders"]
    if offenders:
        columns = list(offenders[0])
        rows = [("", [escape(offender.get(column, "")) for column in columns]) for offender in offenders]
        pieces.append('<p class="note">The first records:</p>')
        pieces.append(table([column.replace("_", " ") for column in columns], rows, text_columns=len(columns)))
    return '<div class="item">' + "\n".join(pieces) + "</div>"


def _plots(raw: RawFrames) -> list[str]:
    pieces = []
    if raw.tissues:
        caption = (
            "Mean and standard deviation, over transcripts, of log1p of the tissue’s mean TPM: what the model is asked "
            "to predict."
        )
        pieces.append(section("Expression by tissue", embedded(tissue_figure(raw), caption)))
    figure = overview_figure(raw)
    if figure is not None:
        caption = "Spliced lengths, isoforms per gene, sums of samples, and identifiers found on both sides."
        pieces.append(section("Distributions", embedded(figure, caption)))
    return pieces


def _suite(suite: str, results: Sequence[Result]) -> str:
    rows = [
        ("", [_mark(item), escape(item["name"]), escape(item["expected"]), escape(item["observed"])])
        for item in results
    ]
    passed = sum(item["passed"] for item in results)
    heading = f"{suite[0].upper()}{suite[1:]}: {passed} of {len(results)} checks passed"
    return section(heading, table(["", "Check", "Expected", "Found"], rows, text_columns=4))
