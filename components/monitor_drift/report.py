"""The page of a drift check: the verdict, a row per figure, and both distributions side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from components.html_page import BLUE, GREY, embedded, mark, new_figure, page, plain_axes, section, table
from components.monitor_drift.compare import PREDICTION, Comparison
from components.monitor_drift.observations import Observed

_WORDS = {
    "rna_nt": "RNA length (nt)",
    "protein_residues": "protein length (residues)",
    "rna_gc": "GC share of the RNA",
    "dna_gc": "GC share of the DNA window",
    "rna_unknown": "unknown share of the RNA",
    "dna_unknown": "unknown share of the DNA window",
    PREDICTION: "prediction, mean of tissues (log1p TPM)",
}
_TONES = {"drift": "bad", "stable": "good", "too few": "warn"}
_SENTENCES = {
    "drift": "What is asked, or answered, has moved away from the training data.",
    "stable": "What is asked and answered looks like the training data.",
    "too few": "Too few transcripts were recorded to say anything.",
}


def write_report(
    out: Path, record: Mapping[str, Any], found: Sequence[Comparison], observed: Observed, *, simulated: bool
) -> None:
    """Write the page of one check."""
    verdict = str(record["verdict"])
    body = ["<h1>Drift of served transcripts</h1>"]
    body.append(f'<p class="lead">Model {escape(str(record["version"]))}, {record["transcripts"]:,} transcripts.</p>')
    if simulated:
        body.append('<p class="banner">The model was trained on SIMULATED expression.</p>')
    tone = _TONES[verdict]
    body.append(
        f'<section class="verdict {tone}"><h2>{escape(verdict.capitalize())}</h2><p>{_SENTENCES[verdict]}</p></section>'
    )
    if found:
        rows = [("", _row(item, item.name in record["moved"])) for item in found]
        headings = ["figure", "", "transcripts", "PSI", "KS", "p"]
        body.append(section("Figures", table(headings, rows, text_columns=2)))
        body.append(section("Distributions", _bins(found)))
    body.append(section("Predictions by tissue", _by_tissue(observed)))
    out.write_text(page("Drift", body), encoding="utf-8")


def _row(item: Comparison, moved: bool) -> list[str]:
    tone = mark("moved", "bad") if moved else mark("same", "good")
    return [
        escape(_WORDS[item.name]),
        tone,
        f"{item.count:,}",
        f"{item.psi:.3f}",
        f"{item.ks:.3f}",
        f"{item.p_value:.2g}",
    ]


def _bins(found: Sequence[Comparison]) -> str:
    columns = 2
    rows = -(-len(found) // columns)
    figure = new_figure(10, 2.3 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, item in zip(panels, found, strict=False):
        places = np.arange(len(item.trained_share))
        panel.bar(places - 0.2, item.trained_share, 0.4, color=GREY, label="training")
        panel.bar(places + 0.2, item.asked_share, 0.4, color=BLUE, label="asked")
        panel.set_xticks(places[:-1] + 0.5, [_short(edge) for edge in item.edges], rotation=45, ha="right")
        panel.set_title(_WORDS[item.name], fontsize=10, loc="left")
        plain_axes(panel)
    for panel in panels[len(found) :]:
        panel.set_visible(False)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    return embedded(figure, "Share of transcripts in each bin of the training data; numbers are the bins' borders.")


def _short(edge: float) -> str:
    return f"{edge:,.0f}" if abs(edge) >= 100 else f"{edge:.3g}"


def _by_tissue(observed: Observed) -> str:
    figure = new_figure(10, 0.8 + 0.22 * len(observed.tissues))
    axes = figure.subplots()
    middle = np.median(observed.predicted, axis=0)
    low, high = np.quantile(observed.predicted, [0.25, 0.75], axis=0)
    places = np.arange(len(observed.tissues))
    axes.errorbar(middle, places, xerr=[middle - low, high - middle], fmt="o", color=BLUE, markersize=4)
    axes.set_yticks(places, observed.tissues)
    axes.invert_yaxis()
    axes.set_xlabel("log1p TPM")
    plain_axes(axes)
    return embedded(figure, "Served predictions: median and quartiles.")
