"""The plots of the data report."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from components.html_page import AMBER, BLUE, GREY, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from components.validate_data.raw import RawFrames


def tissue_figure(raw: RawFrames) -> Figure:
    """Mean and standard deviation of log1p TPM per tissue, highest mean first."""
    figure = new_figure(9.6, 4.0)
    axes = figure.subplots()
    order = np.argsort(-raw.tissue_mean, kind="stable")
    place = np.arange(len(order))
    axes.bar(place - 0.2, raw.tissue_mean[order], width=0.4, color=BLUE, label="mean")
    axes.bar(place + 0.2, raw.tissue_sd[order], width=0.4, color="#9fc1e6", label="standard deviation")
    axes.set_xticks(place, [raw.tissues[index] for index in order], rotation=60, ha="right", rotation_mode="anchor")
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
        panels += [lambda axes: _lengths(axes, raw.rna_bp), lambda axes: _isoforms(axes, raw.isoforms_per_gene)]
    if len(raw.tpm_sums):
        panels.append(lambda axes: _sums(axes, raw.tpm_sums))
    if raw.matches:
        panels.append(lambda axes: _matches(axes, raw.matches))
    if not panels:
        return None
    figure = new_figure(9.6, 2.9 * ((len(panels) + 1) // 2))
    grid = figure.subplots((len(panels) + 1) // 2, 2, squeeze=False).reshape(-1)
    for axes, panel in zip(grid, panels, strict=False):
        panel(axes)
        plain_axes(axes)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    return figure


def _lengths(axes: Axes, rna_bp: np.ndarray) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = max(1, int(rna_bp.min())), max(10, int(rna_bp.max()))
    axes.hist(rna_bp, bins=np.geomspace(low, high + 1, 50).tolist(), color=BLUE)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="bp", ylabel="transcripts")
    axes.set_title("Spliced RNA length", fontsize=10)


def _isoforms(axes: Axes, isoforms: np.ndarray) -> None:
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
    names = list(matches)
    values = [matches[name] for name in names]
    axes.barh(names, values, color=[BLUE if "both" in name else GREY for name in names], height=0.6)
    for row, value in enumerate(values):
        axes.text(value, row, f" {value:,}", va="center", fontsize=9)
    axes.set_xlim(0, max(1, max(values)) * 1.2)
    axes.invert_yaxis()
    axes.set_title("Transcript ids", fontsize=10)
