"""The loss and metric curves of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def plot_history(history: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw training and validation MSE and validation R² over epochs as PNG, the kept epoch marked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    loss, quality = figure.subplots(1, 2)
    epochs = [entry["epoch"] + 1 for entry in history]
    best = min(range(len(history)), key=lambda index: history[index]["valid_mse"])
    loss.plot(epochs, [entry["train_mse"] for entry in history], marker="o", markersize=3, label="training")
    loss.plot(epochs, [entry["valid_mse"] for entry in history], marker="o", markersize=3, label="validation")
    loss.set(xlabel="epoch", ylabel="MSE (standardised log1p TPM)", title="Loss")
    quality.plot(epochs, [entry["valid_r2"] for entry in history], marker="o", markersize=3, color="tab:green")
    quality.set(xlabel="epoch", ylabel="mean R² over tissues", title="Validation split")
    for axes in (loss, quality):
        axes.axvline(epochs[best], color="0.6", linestyle=":", label="lowest validation MSE")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    # No software version or date in the file: equal runs give equal bytes.
    figure.savefig(path, dpi=120, metadata={"Software": None})
