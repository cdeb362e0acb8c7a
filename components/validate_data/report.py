"""The report of checks: one self-contained HTML page, what failed first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from components.html_page import facts, mark, page, section, table
from components.validate_data.runner import Result, blocking_ones

SIMULATED = "ids of simulated transcripts or samples were found: nothing here is a statement about biology."


def checks_page(
    *,
    title: str,
    lead: str,
    results: Sequence[Result],
    counts: Mapping[str, str],
    simulated: bool,
    plots: Sequence[str],
    digests: Mapping[str, str],
) -> str:
    """The whole page as HTML: verdict, `counts` by their words, failures, `plots`, all checks, `digests` by name."""
    suites = list(dict.fromkeys(result["suite"] for result in results))
    pieces = [f"<h1>{escape(title)}</h1>", f'<p class="lead">{escape(lead)}</p>']
    if simulated:
        pieces.append(f'<div class="banner"><b>SIMULATED</b> — {escape(SIMULATED)}</div>')
    pieces.append(_verdict(results, counts))
    failed = sorted((result for result in results if not result["passed"]), key=lambda item: item["severity"])
    if failed:
        pieces.append(section("What failed", *(_failure(result) for result in failed)))
    pieces += plots
    pieces += [_suite(suite, [result for result in results if result["suite"] == suite]) for suite in suites]
    rows = [("", [escape(name), f"<code>{escape(digest)}</code>"]) for name, digest in sorted(digests.items())]
    pieces.append(section("Made of", table(["", "sha256"], rows, text_columns=2)))
    return page(title + (" (simulated)" if simulated else ""), pieces)


def _verdict(results: Sequence[Result], counts: Mapping[str, str]) -> str:
    blocking = blocking_ones(results)
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
    card = section(heading, f"<p>{escape(lead)}</p>", facts([(figure, word) for word, figure in counts.items()]))
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


def _suite(suite: str, results: Sequence[Result]) -> str:
    rows = [
        ("", [_mark(item), escape(item["name"]), escape(item["expected"]), escape(item["observed"])])
        for item in results
    ]
    passed = sum(item["passed"] for item in results)
    heading = f"{suite[0].upper()}{suite[1:]}: {passed} of {len(results)} checks passed"
    return section(heading, table(["", "Check", "Expected", "Found"], rows, text_columns=4))
