"""The plots of the report on an extracted dataset."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from components.html_page import AMBER, GREY, embedded, new_figure, plain_axes, section, table
from components.validate_data.figures import draw_counts, draw_isoforms, draw_lengths, panel_figure, tissue_figure
from components.validate_data.table_frames import Dataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DRIFT_BARS = 20


def dataset_plots(dataset: Dataset, before: Dataset | None) -> list[str]:
    """Sections with plots and tables: labels, distributions, what was left out, and drift where it is known."""
    labels = dataset.frames["labels"]
    figure = tissue_figure(dataset.tissues, labels["mean"].to_numpy(), labels["sd"].to_numpy())
    caption = "Mean and standard deviation of the labels, log1p of the tissue’s mean TPM, over all transcripts kept."
    pieces = [
        section("Expression by tissue", embedded(figure, caption)),
        section(
            "Distributions",
            embedded(_overview(dataset), "Lengths, isoforms per gene, and how identifiers were matched."),
        ),
    ]
    if before is not None:
        pieces.insert(0, _drift(dataset))
    counts = dataset.facts["counts"]
    for heading, found in (("Left out, by reason", counts["dropped"]), ("Unusual, by reason", counts["reasons"])):
        rows = [("", [escape(name.replace("_", " ")), f"{count:,}"]) for name, count in sorted(found.items())]
        if rows:
            pieces.append(section(heading, table(["reason", "transcripts"], rows)))
    return pieces


def _overview(dataset: Dataset) -> Figure:
    rows = dataset.rows
    residues = rows.loc[rows["has_protein"], "protein_residues"].to_numpy()
    matching = {name.replace("_", " "): count for name, count in dataset.facts["id_matching"].items()}
    panels = [
        lambda axes: draw_lengths(axes, rows["rna_bp"].to_numpy()),
        lambda axes: draw_isoforms(axes, rows["gene_id"].value_counts().to_numpy()),
        lambda axes: draw_counts(axes, matching, "Transcript ids", strong=[n for n in matching if "only" not in n]),
    ]
    if len(residues):
        panels.insert(1, lambda axes: draw_lengths(axes, residues, "Protein length", "residues"))
    return panel_figure(panels)


def _drift(dataset: Dataset) -> str:
    """The statistics that moved most, and what of the previous dataset is still there."""
    frame = dataset.frames["drift"].sort_values("psi", ascending=False, kind="stable").head(_DRIFT_BARS)
    figure = new_figure(9.6, 0.26 * len(frame) + 0.9)
    left, right = figure.subplots(1, 2, sharey=True)
    place = np.arange(len(frame))
    for axes, kind, title in (
        (left, "ks", "Kolmogorov-Smirnov distance"),
        (right, "psi", "Population stability index"),
    ):
        beyond = frame[f"{kind}_beyond_chance"].fillna(0) > 0
        axes.barh(place, frame[kind].fillna(0), color=np.where(beyond, AMBER, GREY), height=0.7)
        axes.set_title(title, fontsize=10)
        axes.set_xlim(0, max(0.1, float(frame[kind].max()) * 1.1))
        plain_axes(axes)
    left.set_yticks(place, frame["statistic"])
    left.invert_yaxis()
    kept = dataset.frames["continuity"].iloc[0]
    caption = (
        f"The {len(frame)} statistics that moved most since the previous dataset; grey is what as many genes drawn "
        f"twice from one population would show too. {kept['shared_share']:.1%} of the previous transcripts are here; "
        f"{kept['moved_share']:.1%} of its test transcripts are now in another split."
    )
    return section("Drift", embedded(figure, caption))
