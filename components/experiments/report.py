"""The report of a folder of experiments: what each suite found so far, as HTML, Markdown and LaTeX.

It can be written at any time: what is missing is said, with the command that runs it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import combinations
from pathlib import Path

from components import html_page
from components.artifacts import write_json
from components.evaluate_model.attention import AttentionTable
from components.evaluate_model.figures import attention_figure
from components.experiments.attention import attention_over_seeds, attention_table, best_of
from components.experiments.comparison import Comparer, Comparison
from components.experiments.figures import scores_figure, tissue_figure
from components.experiments.length_baseline import LengthBaseline, length_baseline
from components.experiments.published import REMARKS, DnaEncoder
from components.experiments.records import planned_suites, read_plan
from components.experiments.render import as_latex, as_markdown, latex_text
from components.experiments.results import SuiteResults, read_results
from components.experiments.summary import summary_of
from components.experiments.tables import Table, comparison_table, scores_table, tissue_table
from model.errors import InputError

SIMULATED = "SIMULATED data: no number here is a statement about biology."
PUBLISHED = (
    "Published figures: arXiv 2406.14150, mean ± sd of five seeds, GTEx v8. They are of other data than yours unless "
    "yours are those."
)
LATEX_HEAD = "% needs \\usepackage{booktabs}"


@dataclass(frozen=True)
class SuiteReport:
    """One suite's results with what follows from them; `to_reference` are comparisons with the suite's reference.

    `attention`: of configurations whose evaluations compared the RNA encoder's attention.
    """

    results: SuiteResults
    baseline: LengthBaseline | None
    comparisons: list[Comparison]
    dna_encoder: DnaEncoder
    attention: Mapping[str, AttentionTable]

    @property
    def to_reference(self) -> list[Comparison]:
        """Comparisons with the reference, the reference second."""
        return [item for item in self.comparisons if item.second == self.results.suite.reference]

    @property
    def among_others(self) -> list[Comparison]:
        """All other comparisons."""
        return [item for item in self.comparisons if item.second != self.results.suite.reference]

    @property
    def tables(self) -> list[Table]:
        """All tables of the suite, those that nothing can be said in left out."""
        tables = [scores_table(self.results, self.baseline, self.dna_encoder)]
        if self.comparisons:
            tables.append(comparison_table(self.results, [*self.to_reference, *self.among_others]))
        if self.to_reference:
            tables.append(tissue_table(self.results, self.to_reference))
        if self.attention:
            tables.append(attention_table(self.results, self.attention))
        return tables

    @property
    def missing(self) -> str:
        """What is not done, empty if nothing."""
        missing = self.results.plan.missing
        if not missing:
            return ""
        names = "; ".join(f"{trial.configuration} seed {trial.seed}" for trial in missing)
        total = len(self.results.plan.trials)
        return (
            f"Not finished: {len(missing)} of {total} trials are missing ({names}). "
            f"`isoformer experiments run --suite {self.results.suite.key}` with the same options goes on."
        )


def write_report(folder: Path, *, resamples: int) -> list[Path]:
    """Write report.html, report.md, report.tex and results.json into a folder of experiments; returns their paths.

    Raises `InputError` where the folder holds no suite.
    """
    names = planned_suites(folder)
    if not names:
        raise InputError(
            where=str(folder),
            expected="a folder of experiments",
            found="no plan of any suite",
            fix=f"Run `isoformer experiments run --suite … --out {folder}` first, or correct --out.",
        )
    reports = [suite_report(folder, name, resamples=resamples) for name in names]
    contents = {
        "report.html": _html(reports),
        "report.md": _markdown(reports),
        "report.tex": _latex(reports),
    }
    for name, text in contents.items():
        _replace(folder / name, text)
    write_json(folder / ".results.json.partial", {item.results.suite.key: summary_of(item) for item in reports})
    os.replace(folder / ".results.json.partial", folder / "results.json")
    return [folder / name for name in (*contents, "results.json")]


def suite_report(folder: Path, name: str, *, resamples: int) -> SuiteReport:
    """Read a suite of a folder and compare its configurations."""
    plan = read_plan(folder, name)
    results = read_results(plan)
    comparisons: list[Comparison] = []
    baseline = None
    if results.observed is not None:
        comparisons = Comparer(results, resamples=resamples).compare_all(_pairs(results))
        baseline = length_baseline(_any_transcripts(results))
    encoder: DnaEncoder = "nucleotide-transformer" if plan.network.endswith("-nt") else "enformer"
    return SuiteReport(results, baseline, comparisons, encoder, attention_over_seeds(results))


def _pairs(results: SuiteResults) -> list[tuple[str, str]]:
    """All pairs, later configuration first, so that differences read as gains; the reference is always second."""
    keys = [item.key for item in results.suite.configurations]
    reference = results.suite.reference
    pairs = [(second, first) for first, second in combinations(keys, 2)]
    return [(second, first) if first == reference else (first, second) for first, second in pairs]


def _any_transcripts(results: SuiteResults) -> Path:
    trial = next(item for item in results.plan.trials if item.done)
    return Path(json.loads((trial.folder / "trial.json").read_text(encoding="utf-8"))["transcripts"])


def _notes(report: SuiteReport) -> list[str]:
    return [text for text in (report.missing, REMARKS.get(report.results.suite.key, "")) if text]


def _html(reports: Sequence[SuiteReport]) -> str:
    body = ["<h1>Experiments</h1>", f'<p class="lead">{escape(PUBLISHED)}</p>']
    if any(report.results.simulated for report in reports):
        body.append(f'<div class="banner">{escape(SIMULATED)}</div>')
    body += [html_page.section(report.results.suite.title, *_html_pieces(report)) for report in reports]
    return html_page.page("IsoFormer experiments", body)


def _html_pieces(report: SuiteReport) -> list[str]:
    results = report.results
    tables = report.tables
    pieces = [f'<p class="lead">{escape(results.suite.question)}</p>']
    if report.missing:
        pieces.append(f'<div class="banner">{escape(report.missing)}</div>')
    pieces.append(_html_table(tables[0]))
    if remark := REMARKS.get(results.suite.key):
        pieces.append(f'<p class="note">{escape(remark)}</p>')
    if results.observed is None:
        return pieces
    figure = scores_figure(results, report.baseline, report.dna_encoder)
    pieces.append(html_page.embedded(figure, "R² of each configuration, mean over tissues."))
    if report.to_reference:
        caption = "R² gained over the reference in each tissue, same genes and seeds on both sides."
        pieces.append(html_page.embedded(tissue_figure(results, report.to_reference), caption))
    if report.attention:
        key = best_of(results, report.attention)
        label = next(item.label for item in results.suite.configurations if item.key == key)
        caption = (
            f"{label}: change of the RNA encoder's share of attention against {report.attention[key].before}, layers"
            " down, heads across, mean over seeds; * marks changes that are significant in every seed."
        )
        pieces.append(html_page.embedded(attention_figure(report.attention[key]), caption))
    for table in tables[1:]:
        pieces.append(f"<details><summary>{escape(table.title)}</summary>\n{_html_table(table)}\n</details>")
    return pieces


def _html_table(table: Table) -> str:
    rows = [
        ("strong" if index in table.emphasised else "", [escape(cell) for cell in row])
        for index, row in enumerate(table.rows)
    ]
    return html_page.table(table.headings, rows, text_columns=table.text_columns)


def _markdown(reports: Sequence[SuiteReport]) -> str:
    pieces = ["# Experiments", PUBLISHED]
    if any(report.results.simulated for report in reports):
        pieces.append(f"**{SIMULATED}**")
    for report in reports:
        first, *others = report.tables
        pieces += [f"## {first.title}", report.results.suite.question, *_notes(report), as_markdown(first)]
        for table in others:
            pieces += [f"### {table.title}", as_markdown(table)]
    return "\n\n".join(pieces) + "\n"


def _latex(reports: Sequence[SuiteReport]) -> str:
    pieces = [LATEX_HEAD, f"% {PUBLISHED}"]
    if any(report.results.simulated for report in reports):
        pieces.append(f"\\textbf{{{latex_text(SIMULATED)}}}")
    for report in reports:
        pieces += [latex_text(text.replace("`", "")) for text in _notes(report)]
        pieces += [as_latex(table) for table in report.tables]
    return "\n\n".join(pieces) + "\n"


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
