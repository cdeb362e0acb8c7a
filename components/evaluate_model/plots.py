"""The evaluation's plots as SVG files, which DVC shows without a request to anywhere."""

from __future__ import annotations

from pathlib import Path

from components.evaluate_model.evaluation import Evaluation
from components.evaluate_model.figures import calibration_figure, history_figure, scatter_figure, tissue_figure
from components.evaluate_model.subject import Subject
from components.html_page import svg_of


def write_plots(folder: Path, subject: Subject, evaluation: Evaluation) -> None:
    """Write per_tissue.svg, scatter.svg, calibration.svg and training.svg below `folder`."""
    folder.mkdir()
    figures = {
        "per_tissue": tissue_figure(evaluation),
        "scatter": scatter_figure(evaluation),
        "calibration": calibration_figure(evaluation.calibration),
        **({"training": history_figure(subject.history)} if subject.history else {}),
    }
    for name, figure in figures.items():
        (folder / f"{name}.svg").write_bytes(svg_of(figure))
