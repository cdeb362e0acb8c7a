"""The plots of the data report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from components.html_page import AMBER, BLUE, GREY, embedded, new_figure, plain_axes, section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from components.validate_data.raw import RawFrames


def raw_plots(raw: RawFrames) -> list[str]:
    """Sections with plots of what could be read."""
    pieces = []
    if raw.tissues:
        caption = (
            "Mean and standard deviation, over transcripts, of log1p of the tissue’s mean TPM: what the model is asked "
            "to predict."
        )
        figure = tissue_figure(raw.tissues, raw.tissue_mean, raw.tissue_sd)
        pieces.append(section("Expression by tissue", embedded(figure, caption)))
    overview = overview_figure(raw)
    if overview is not None:
        caption = "Spliced lengths, isoforms per gene, sums of samples, and identifiers found on both sides."
        pieces.append(section("Distributions", embedded(overview, caption)))
    return pieces


def tissue_figure(tissues: Sequence[str], means: np.ndarray, deviations: np.ndarray) -> Figure:
    """Mean and standard deviation (T,) of log1p TPM per tissue, highest mean first."""
    figure = new_figure(9.6, 4.0)
    axes = figure.subplots()
    order = np.argsort(-means, kind="stable")
    place = np.arange(len(order))
    axes.bar(place - 0.2, means[order], width=0.4, color=BLUE, label="mean")
    axes.bar(place + 0.2, deviations[order], width=0.4, color="#9fc1e6", label="standard deviation")
    axes.set_xticks(place, [tissues[index] for index in order], rotation=60, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.7, len(order) - 0.3)
    axes.set_ylabel("log1p TPM")
    axes.legend(frameon=False, fontsize=9, ncols=2)
    axes.grid(axis="y", alpha=0.35)
    plain_axes(axes)
    return figure


def overview_figure(raw: RawFrames) -> Figure | None:
    """Up to four panels of what could be read: lengths, isoforms per gene, sample sums, matched ids."""
    panels: list[Callable[[Axes], None]] = []
    if len(raw.rna_bp):
        panels += [lambda axes: draw_lengths(axes, raw.rna_bp), lambda axes: draw_isoforms(axes, raw.isoforms_per_gene)]
    if len(raw.tpm_sums):
        panels.append(lambda axes: _sums(axes, raw.tpm_sums))
    if raw.matches:
        panels.append(lambda axes: _matches(axes, raw.matches))
    return panel_figure(panels) if panels else None


def panel_figure(panels: Sequence[Callable[[Axes], None]]) -> Figure:
    """Panels side by side, two in a row."""
    figure = new_figure(9.6, 3.1 * ((len(panels) + 1) // 2))
    grid = figure.subplots((len(panels) + 1) // 2, 2, squeeze=False).reshape(-1)
    for axes, panel in zip(grid, panels, strict=False):
        panel(axes)
        plain_axes(axes)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    return figure


def draw_lengths(axes: Axes, rna_bp: np.ndarray, title: str = "Spliced RNA length", unit: str = "bp") -> None:
    """A histogram of lengths on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = max(1, int(rna_bp.min())), max(10, int(rna_bp.max()))
    axes.hist(rna_bp, bins=np.geomspace(low, high + 1, 50).tolist(), color=BLUE)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel=unit, ylabel="transcripts")
    axes.set_title(title, fontsize=10)


def draw_isoforms(axes: Axes, isoforms: np.ndarray) -> None:
    """How many genes have so many transcripts."""
    most = min(20, int(isoforms.max(initial=1)))
    counts = np.bincount(np.minimum(isoforms, most), minlength=most + 1)[1:]
    axes.bar(np.arange(1, most + 1), counts, color=BLUE, width=0.8)
    places = [place for place in (1, 2, 5, 10, 15, 20) if place <= most]
    axes.set_xticks(places, [f"{place}+" if place == 20 else str(place) for place in places])
    axes.set(xlabel="transcripts", ylabel="genes")
    axes.set_title("Isoforms per gene", fontsize=10)


def _sums(axes: Axes, tpm_sums: np.ndarray) -> None:
    millions = tpm_sums / 1e6
    # Sums that agree are one bar, not a picture of their rounding.
    middle, reach = float(np.median(millions)), max(0.02, float(np.abs(millions - np.median(millions)).max()))
    axes.hist(millions, bins=40, range=(max(0.0, middle - reach), middle + reach), color=AMBER)
    axes.set(xlabel="million TPM", ylabel="samples")
    axes.set_title("TPM sum per sample", fontsize=10)


def _matches(axes: Axes, matches: dict[str, int]) -> None:
    draw_counts(axes, matches, "Transcript ids", strong=("in both",))


def draw_counts(axes: Axes, counts: Mapping[str, int], title: str, strong: Sequence[str] = ()) -> None:
    """Bars with their counts beside them; those of `strong` in colour."""
    names = list(counts)
    values = [counts[name] for name in names]
    axes.barh(names, values, color=[BLUE if name in strong else GREY for name in names], height=0.6)
    for row, value in enumerate(values):
        axes.text(value, row, f" {value:,}", va="center", fontsize=9)
    axes.set_xlim(0, max(1, max(values)) * 1.2)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=10)
