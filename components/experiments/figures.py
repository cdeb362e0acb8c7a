"""The plots of the experiments' report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.experiments.comparison import Comparison
from components.experiments.length_baseline import LengthBaseline
from components.experiments.published import DnaEncoder, published_row
from components.experiments.results import SuiteResults
from components.html_page import AMBER, BLUE, GREEN, GREY, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (BLUE, GREEN, AMBER, "#7b4fa6", "#00838f", "#b3261e", GREY)


def scores_figure(results: SuiteResults, baseline: LengthBaseline | None, dna_encoder: DnaEncoder) -> Figure:
    """R² of each configuration: a dot per seed, a bar at their mean, the published value, what is attainable."""
    items = results.suite.configurations
    figure = new_figure(8.6, 1.3 + 0.36 * len(items))
    axes = figure.subplots()
    legend: dict[str, Any] = {}
    for row, item in enumerate(items):
        values = [trial.mean_r2 for trial in results.trials.get(item.key, {}).values()]
        if values:
            axes.barh(row, float(np.mean(values)), color="#c9dcf2", height=0.62)
            legend["one seed"] = axes.scatter(values, [row] * len(values), s=16, color=BLUE, zorder=4)
        ceiling = results.ceilings.get(results.modalities(item) or "")
        if results.simulated and ceiling is not None:
            legend["attainable (simulated truth)"] = axes.scatter(
                [ceiling], [row], marker="|", s=160, color=GREEN, linewidths=2.2, zorder=5
            )
        published = published_row(results.suite.key, item.key, dna_encoder)
        if published is not None and published.r2 is not None and not results.simulated:
            legend["published"] = axes.scatter([published.r2], [row], marker="D", s=30, color=AMBER, zorder=5)
    if baseline is not None:
        legend["lengths alone"] = axes.axvline(baseline.r2, color=GREY, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.set_yticks(range(len(items)), [item.label for item in items])
    axes.invert_yaxis()
    axes.axvline(0, color="#b8c0ca", linewidth=1)
    axes.set_xlabel("mean R² over tissues, unseen genes")
    axes.grid(axis="x", alpha=0.35)
    plain_axes(axes)
    figure.legend(list(legend.values()), list(legend), frameon=False, fontsize=9, ncols=4, loc="outside lower center")
    return figure


def tissue_figure(results: SuiteResults, comparisons: Sequence[Comparison]) -> Figure:
    """R² gained over the reference in each tissue, with intervals; one colour per configuration."""
    labels = {item.key: item.label for item in results.suite.configurations}
    tissues = results.tissues
    figure = new_figure(9.6, 1.3 + 0.27 * len(tissues))
    axes = figure.subplots()
    for number, item in enumerate(comparisons):
        rows = np.arange(len(tissues)) + (number - (len(comparisons) - 1) / 2) * 0.8 / len(comparisons)
        values = np.array([entry.value for entry in item.per_tissue])
        ends = np.array([(entry.value - entry.low, entry.high - entry.value) for entry in item.per_tissue]).T
        axes.errorbar(
            values,
            rows,
            xerr=np.maximum(ends, 0),
            fmt="o",
            markersize=3.2,
            linewidth=1,
            color=_COLOURS[number % len(_COLOURS)],
            label=labels[item.first],
        )
    axes.set_yticks(range(len(tissues)), tissues)
    axes.set_ylim(len(tissues) - 0.4, -0.6)
    axes.axvline(0, color="#b8c0ca", linewidth=1)
    axes.set_xlabel(f"R² gained over {labels[comparisons[0].second]}, 95 % interval over genes and seeds")
    axes.grid(axis="x", alpha=0.35)
    plain_axes(axes)
    figure.legend(frameon=False, fontsize=9, ncols=4, loc="outside lower center")
    return figure
