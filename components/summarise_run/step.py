"""The summary of a pipeline run, written whatever came of it: state, steps with their attempts, the failure's cause."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from components import html_page
from components.html_page import Tone
from components.run_notes import Attempt, attempts_of, folder_of

_TONES: dict[str, Tone] = {"done": "good", "refused": "bad", "failed": "bad", "stopped": "warn", "begun": "warn"}
_WORDS = {"begun": "not heard of again"}
_NO_NOTES = "The steps left no notes: without a claim that pods share (--work-claim), they end with the pods."


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What is known of a run. `state` is Kubeflow's word: SUCCEEDED, FAILED or CANCELLED; `error` its message."""

    run: str
    state: str
    error: str
    attempts: tuple[Attempt, ...]

    @property
    def cause(self) -> str:
        """Why the run failed: in the words of the last attempt that did not end well, else in Kubeflow's."""
        if self.state == "SUCCEEDED":
            return ""
        last = {item.step: item for item in self.attempts}
        bad = [item for item in last.values() if item.state != "done"]
        if not bad:
            return self.error or "no step says why; see the log of the failed pod"
        worst = bad[-1]
        if worst.state == "begun":
            return f"{worst.step}: began and was not heard of again: killed (out of memory, evicted, deadline) or lost"
        return f"{worst.step}: {worst.state}: {worst.reason}"


def summarise(*, run: str, state: str, error: str, work_root: Path) -> Summary:
    """Gather what the steps of `run` noted below `work_root`."""
    folder = folder_of(work_root, run)
    attempts = attempts_of(folder) if folder is not None and folder.is_dir() else []
    return Summary(run=run, state=state, error=error, attempts=tuple(attempts))


def as_markdown(summary: Summary) -> str:
    """The summary for Kubeflow's Markdown page and for messages."""
    lines = [f"# Run {summary.run or 'without a name'}: {summary.state}", ""]
    if summary.cause:
        lines += [f"**Cause:** {_cell(summary.cause)}", ""]
    if not summary.attempts:
        return "\n".join([*lines, _NO_NOTES, ""])
    lines += ["| step | attempt | state | seconds | what it says |", "|---|---|---|---|---|"]
    for item, number in _numbered(summary.attempts):
        seconds = "" if item.seconds is None else f"{item.seconds:.1f}"
        says = _cell(item.reason or _facts(item))
        lines.append(f"| {item.step} | {number} | {_WORDS.get(item.state, item.state)} | {seconds} | {says} |")
    return "\n".join([*lines, ""])


def as_html(summary: Summary) -> str:
    """The summary as one self-contained page."""
    good = summary.state == "SUCCEEDED"
    banner = f'<section class="verdict {"good" if good else "bad"}"><h2>{escape(summary.state.capitalize())}</h2>'
    banner += f"<p>{escape(summary.cause)}</p></section>" if summary.cause else "</section>"
    rows = []
    for item, number in _numbered(summary.attempts):
        word = _WORDS.get(item.state, item.state)
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(item.began))
        seconds = "" if item.seconds is None else f"{item.seconds:.1f}"
        says = f"<code>{escape(item.reason or _facts(item))}</code>"
        state = html_page.mark(word, _TONES[item.state])
        rows.append(("", (escape(item.step), state, says, str(number), began, seconds)))
    headings = ("step", "state", "what it says", "attempt", "began (UTC)", "seconds")
    steps = html_page.table(headings, rows, text_columns=3) if rows else f"<p>{escape(_NO_NOTES)}</p>"
    lead = f'<p class="lead">Run <code>{escape(summary.run or "without a name")}</code></p>'
    body = ["<h1>Run summary</h1>", lead, banner, html_page.section("Steps", steps)]
    return html_page.page(f"Run {summary.run}: {summary.state}", body)


def _numbered(attempts: Sequence[Attempt]) -> list[tuple[Attempt, int]]:
    counts: dict[str, int] = {}
    numbered = []
    for item in attempts:
        counts[item.step] = counts.get(item.step, 0) + 1
        numbered.append((item, counts[item.step]))
    return numbered


def _facts(item: Attempt) -> str:
    return ", ".join(f"{name} {value}" for name, value in (item.facts or {}).items())


def _cell(text: str) -> str:
    # A bar or a line break would end the cell; a tag would be shown as one.
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
