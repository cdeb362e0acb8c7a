"""The loss and metric curves of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

# By train.early_stopping_metric.
BEST_BY = {"mse": "lowest validation MSE", "r2": "highest validation R²"}


def kept_epoch(history: Sequence[dict[str, Any]], metric: str) -> int:
    """Place in the history of the epoch whose weights are the model: the first of the best by "mse" or "r2"."""
    sign = -1 if metric == "r2" else 1
    return min(range(len(history)), key=lambda index: sign * history[index][f"valid_{metric}"])


def plot_history(history: Sequence[dict[str, Any]], path: Path, *, metric: str) -> None:
    """Draw training and validation MSE and validation R² over epochs as PNG, the epoch kept by `metric` marked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    loss, quality = figure.subplots(1, 2)
    epochs = [entry["epoch"] + 1 for entry in history]
    kept = kept_epoch(history, metric)
    loss.plot(epochs, [entry["train_mse"] for entry in history], marker="o", markersize=3, label="training")
    loss.plot(epochs, [entry["valid_mse"] for entry in history], marker="o", markersize=3, label="validation")
    loss.set(xlabel="epoch", ylabel="MSE (standardised log1p TPM)", title="Loss")
    quality.plot(epochs, [entry["valid_r2"] for entry in history], marker="o", markersize=3, color="tab:green")
    quality.set(xlabel="epoch", ylabel="mean R² over tissues", title="Validation split")
    for axes in (loss, quality):
        axes.axvline(epochs[kept], color="0.6", linestyle=":", label=f"kept: {BEST_BY[metric]}")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    # No software version or date in the file: equal runs give equal bytes.
    figure.savefig(path, dpi=120, metadata={"Software": None})
