"""The plots of the evaluation report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.evaluate_model.attention import ELEMENTS, AttentionTable
from components.evaluate_model.bootstrap import Interval
from components.evaluate_model.evaluation import Evaluation
from components.evaluate_model.residuals import Calibration
from components.html_page import AMBER, BLUE, GREEN, GREY, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCATTER_POINTS = 20_000


def comparison_figure(rows: Sequence[tuple[str, Interval, str]]) -> Figure:
    """R² with intervals, one line per (label, interval, colour), the first on top."""
    figure = new_figure(8.6, 0.8 + 0.34 * len(rows))
    axes = figure.subplots()
    _intervals(axes, [row[1] for row in rows], [row[2] for row in rows])
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.axvline(0, color="#b8c0ca", linewidth=1)
    axes.set_xlabel("mean R² over tissues")
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.35)
    plain_axes(axes)
    return figure


def tissue_figure(evaluation: Evaluation) -> Figure:
    """R² and Spearman of the model per tissue with intervals, best tissue on top, the best baseline as a tick."""
    order = sorted(range(len(evaluation.tissues)), key=lambda index: -_or_lowest(evaluation.model.r2[index].value))
    figure = new_figure(9.6, 1.1 + 0.23 * len(order))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, name in ((left, "r2"), (right, "spearman")):
        figures = getattr(evaluation.model, name)
        rivals = [getattr(scores, name) for scores in evaluation.baselines.values()]
        best = [max(_or_lowest(rival[index].value) for rival in rivals) for index in order]
        values = [figures[index].value for index in order]
        axes.barh(range(len(order)), np.nan_to_num(values), color="#c9dcf2", height=0.72)
        _intervals(axes, [figures[index] for index in order], [BLUE] * len(order), size=3.5)
        shown = [(value, row) for row, value in enumerate(best) if value > -1]
        axes.scatter(*zip(*shown, strict=True), marker="|", s=70, color=AMBER, linewidths=1.8, zorder=4)
        axes.axvline(0, color="#b8c0ca", linewidth=1)
        axes.grid(axis="x", alpha=0.35)
        plain_axes(axes)
    left.set_yticks(range(len(order)), [evaluation.tissues[index] for index in order])
    left.invert_yaxis()
    left.set_xlabel("R²")
    right.set_xlabel("Spearman")
    return figure


def scatter_figure(evaluation: Evaluation) -> Figure:
    """Predicted against observed values, of each transcript in each tissue and averaged over tissues."""
    figure = new_figure(9.6, 4.3)
    left, right = figure.subplots(1, 2)
    observed, predicted = evaluation.observed, evaluation.predicted
    # Drawn at random: every n-th value of a table would be all of one tissue.
    shown = np.random.default_rng(0).permutation(observed.size)[:SCATTER_POINTS]
    _cloud(left, observed.reshape(-1)[shown], predicted.reshape(-1)[shown], "each transcript in each tissue", 3)
    _cloud(right, observed.mean(axis=1), predicted.mean(axis=1), "each transcript, mean over tissues", 8)
    return figure


def contribution_figure(contributions: Sequence[tuple[str, Interval]]) -> Figure:
    """R² lost by an ablation, one bar per (label, interval)."""
    figure = new_figure(7.6, 0.8 + 0.4 * len(contributions))
    axes = figure.subplots()
    axes.barh(range(len(contributions)), [item.value for _, item in contributions], color="#cfe8da", height=0.6)
    _intervals(axes, [item for _, item in contributions], [GREEN] * len(contributions))
    axes.set_yticks(range(len(contributions)), [label for label, _ in contributions])
    axes.axvline(0, color="#b8c0ca", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("R² lost")
    axes.grid(axis="x", alpha=0.35)
    plain_axes(axes)
    return figure


def gain_figure(tissues: Sequence[str], gains: Sequence[Interval]) -> Figure:
    """R² gained per tissue with intervals, the largest gain on top."""
    order = sorted(range(len(tissues)), key=lambda index: -_or_lowest(gains[index].value))
    figure = new_figure(7.6, 1.1 + 0.23 * len(order))
    axes = figure.subplots()
    _intervals(axes, [gains[index] for index in order], [BLUE] * len(order), size=3.5)
    axes.set_yticks(range(len(order)), [tissues[index] for index in order])
    axes.axvline(0, color="#b8c0ca", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("R² gained")
    axes.grid(axis="x", alpha=0.35)
    plain_axes(axes)
    return figure


def attention_figure(table: AttentionTable) -> Figure:
    """Change of the share of attention by element: one panel each, layers down, heads across, stars where p < 0.05."""
    layers, heads = (max(getattr(test, name) for test in table.tests) + 1 for name in ("layer", "head"))
    change = np.full((len(ELEMENTS), layers, heads), np.nan)
    for test in table.tests:
        change[ELEMENTS.index(test.element), test.layer, test.head] = test.after - test.before
    figure = new_figure(9.6, 1.6 + 0.3 * layers)
    panels = figure.subplots(1, len(ELEMENTS), sharey=True)
    most = float(np.nanmax(np.abs(change))) if np.isfinite(change).any() else 1.0
    for axes, element, values in zip(panels, ELEMENTS, change, strict=True):
        image = axes.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
        axes.set(title=element, xlabel="head")
        axes.set_xticks(range(heads), range(1, heads + 1))
        axes.set_yticks(range(layers), range(1, layers + 1))
    for test in table.tests:
        if test.p < 0.05:
            strong = abs(test.after - test.before) > 0.6 * most
            panels[ELEMENTS.index(test.element)].text(
                test.head, test.layer, "*", ha="center", va="center", color="white" if strong else "black"
            )
    panels[0].set_ylabel("layer")
    figure.colorbar(image, ax=panels, label="change of attention share", fraction=0.04)
    return figure


def calibration_figure(calibration: Calibration) -> Figure:
    """Observed means with intervals against predicted means, in tenths of the predictions."""
    figure = new_figure(5.4, 4.3)
    axes = figure.subplots()
    for item in calibration.bins:
        axes.plot([item.predicted] * 2, [item.observed.low, item.observed.high], color=BLUE, linewidth=2, zorder=3)
    axes.scatter(
        [item.predicted for item in calibration.bins],
        [item.observed.value for item in calibration.bins],
        s=28,
        color=BLUE,
        zorder=4,
    )
    ends = [calibration.bins[0].predicted, calibration.bins[-1].predicted]
    axes.plot(ends, ends, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.set(xlabel="mean predicted log1p TPM", ylabel="mean observed log1p TPM")
    axes.grid(alpha=0.35)
    plain_axes(axes)
    return figure


def history_figure(history: Sequence[dict[str, Any]]) -> Figure:
    """Training and validation loss, and validation R², by epoch."""
    figure = new_figure(9.6, 3.2)
    loss, quality = figure.subplots(1, 2)
    epochs = [entry["epoch"] + 1 for entry in history]
    loss.plot(epochs, [entry["train_mse"] for entry in history], color=GREY, marker="o", markersize=3, label="train")
    loss.plot(epochs, [entry["valid_mse"] for entry in history], color=BLUE, marker="o", markersize=3, label="valid")
    loss.set(xlabel="epoch", ylabel="MSE, standardised")
    loss.legend(frameon=False, fontsize=9)
    quality.plot(epochs, [entry["valid_r2"] for entry in history], color=BLUE, marker="o", markersize=3)
    quality.set(xlabel="epoch", ylabel="validation R²")
    for axes in (loss, quality):
        axes.set_xlim(0.5, len(history) + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.35)
        plain_axes(axes)
    return figure


def _intervals(axes: Axes, figures: Sequence[Interval], colours: Sequence[str], *, size: float = 6) -> None:
    for row, (item, colour) in enumerate(zip(figures, colours, strict=True)):
        if np.isnan(item.value):
            axes.text(0, row, " n/a", va="center", fontsize=8, color=GREY)
            continue
        axes.plot([item.low, item.high], [row, row], color=colour, linewidth=2, solid_capstyle="round", zorder=3)
        axes.plot([item.value], [row], marker="o", markersize=size, color=colour, zorder=4)


def _cloud(axes: Axes, observed: np.ndarray, predicted: np.ndarray, title: str, size: float) -> None:
    # Thousands of points as vector shapes would weigh megabytes.
    axes.scatter(observed, predicted, s=size, color=BLUE, alpha=0.25, linewidths=0, rasterized=True)
    ends = [float(np.nanmin(observed)), float(np.nanmax(observed))]
    axes.plot(ends, ends, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_title(title, fontsize=10)
    axes.set(xlabel="observed log1p TPM", ylabel="predicted log1p TPM")
    axes.grid(alpha=0.35)
    plain_axes(axes)


def _or_lowest(value: float) -> float:
    return -1.0 if np.isnan(value) else value
