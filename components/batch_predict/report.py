"""The page of a batch prediction: how much was predicted, and the distribution over each tissue."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from components.html_page import BLUE, embedded, facts, new_figure, page, plain_axes, section, table

_MOST_ROWS = 20


def write_report(out: Path, predictions: Path, summary: Mapping[str, Any]) -> None:
    """Write the page of a file of predictions or of variant effects."""
    import pyarrow.parquet as pq

    effects = "variants" in summary
    found = pq.read_table(predictions)
    tissues = json.loads(found.schema.metadata[b"tissues"])
    column = found.column("effect" if effects else "predicted").combine_chunks()
    kept = np.flatnonzero(~np.asarray(column.is_null()))
    values = np.asarray(column.drop_null().flatten()).reshape(-1, len(tissues))
    words = {
        "transcripts": "transcripts",
        "variants": "variants listed",
        "within_reach": "in reach of a transcript",
        "pairs": "variant × transcript",
        "refused": "refused",
    }
    body = [
        f"<h1>{'Variant effects' if effects else 'Predicted expression'}</h1>",
        f'<p class="lead">Model {escape(str(summary["model"]["version"]))}, dataset '
        f"{escape(str(summary['model']['dataset_version'])[:12])}.</p>",
    ]
    if summary["model"]["simulated"]:
        body.append('<p class="banner">The model was trained on SIMULATED expression: nothing here is biology.</p>')
    counts = [(f"{summary[name]:,}", word) for name, word in words.items() if name in summary]
    body.append(section("What was predicted", facts(counts)))
    caption = "log2 fold of 1 + TPM" if effects else "log1p TPM"
    body.append(section("By tissue", _boxes(values, tissues, caption)))
    if effects:
        body.append(section("Strongest effects", _strongest(found.take(kept), values, tissues)))
    out.write_text(page("Batch prediction", body), encoding="utf-8")


def _boxes(values: np.ndarray, tissues: list[str], caption: str) -> str:
    figure = new_figure(10, 0.8 + 0.24 * len(tissues))
    axes = figure.subplots()
    style = {"color": BLUE}
    axes.boxplot(
        [values[:, column] for column in range(len(tissues))],
        orientation="horizontal",
        tick_labels=tissues,
        whis=(1, 99),
        showfliers=False,
        boxprops=style,
        whiskerprops=style,
        capprops=style,
        medianprops=style,
    )
    axes.invert_yaxis()
    axes.set_xlabel(caption)
    plain_axes(axes)
    return embedded(figure, f"{caption} of {len(values):,} rows: median, quartiles, 1st and 99th percentile.")


def _strongest(found: Any, values: np.ndarray, tissues: list[str]) -> str:
    strength = np.abs(values).max(axis=1)
    rows = []
    for place in np.argsort(-strength, kind="stable")[:_MOST_ROWS].tolist():
        tissue = int(np.abs(values[place]).argmax())
        cells = [
            found.column("variant")[place].as_py(),
            found.column("transcript_id")[place].as_py(),
            ", ".join(found.column("consequences")[place].as_py()),
            tissues[tissue],
        ]
        rows.append(("", [*map(escape, cells), f"{values[place, tissue]:+.3f}"]))
    return table(["variant", "transcript", "consequence", "tissue", "effect"], rows, text_columns=4)
