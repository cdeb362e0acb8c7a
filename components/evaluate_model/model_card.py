"""The model card that goes with an evaluation: what the model is, how good, on what data, within which limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.evaluate_model.baselines import HONEST
from components.evaluate_model.bootstrap import Interval
from components.evaluate_model.evaluation import Evaluation
from components.evaluate_model.gates import MODALITY_NAMES
from components.evaluate_model.scores import DERIVED_HEADINGS, HEADINGS
from components.evaluate_model.subject import Subject
from components.params import Params


def model_card(subject: Subject, evaluation: Evaluation, params: Params, intervals: Mapping[str, Any] | None) -> str:
    """The card as Markdown."""
    level = f"{params.evaluate.confidence:.0%}"
    blessed = evaluation.verdict["blessed"]
    simulated = subject.simulated
    lines = [
        "# Model card: IsoFormer" + (" (simulated data)" if simulated else ""),
        "",
        *(["> **Simulated data.** These figures test the software; they say nothing about biology.", ""] * simulated),
        f"**Verdict: {'blessed' if blessed else 'not blessed'}.** "
        + ("Every rule passed." if blessed else " ".join(evaluation.verdict["reasons"])),
        "",
        "## What it does",
        "",
        f"Predicts the expression (log1p TPM) of one transcript isoform in {len(evaluation.tissues)} tissues from the "
        "DNA window around its transcription start site, its RNA and its protein, as published in arXiv 2406.14150.",
        "",
        "## How good it is",
        "",
        f"On {len(evaluation.observed):,} transcripts of {len(evaluation.groups.sizes):,} genes held out of training; "
        f"{level} intervals from a bootstrap over genes.",
        "",
        "| figure | value |",
        "|---|---|",
        *(
            f"| {heading} | {_text(evaluation.model.means[name])} |"
            for name, heading in {**HEADINGS, **DERIVED_HEADINGS}.items()
        ),
        "",
        "R² gained over each honest baseline, paired on the same genes:",
        "",
        "| baseline | R² gained |",
        "|---|---|",
        *(f"| {HONEST[name]} | {_text(evaluation.gains[name])} |" for name in evaluation.baselines),
        "",
        *_contributions(evaluation),
        *_intervals(intervals),
        "## Data",
        "",
        f"- dataset `{subject.transcripts.digest}`, model `{subject.model.digest}`",
        f"- DNA windows of {subject.dataset['window_bp']:,} bp; labels are log1p of the mean TPM of a tissue's samples",
        "",
        "## Limits",
        "",
        "- Tissue averages only: nothing is said about single samples, cells or conditions.",
        "- Figures hold for genes like those of the test split, of this annotation and these tissues.",
        "- Not for clinical use.",
        "",
        "## Licences",
        "",
        "The code and weights trained with it from scratch: Apache-2.0. The data that they were trained on, and any "
        "published checkpoint that training began from, keep their own licences.",
        "",
    ]
    return "\n".join(lines)


def _contributions(evaluation: Evaluation) -> list[str]:
    if not evaluation.contributions:
        return []
    return [
        "R² lost when a modality is shuffled across genes:",
        "",
        "| modality | R² lost |",
        "|---|---|",
        *(f"| {MODALITY_NAMES[name]} | {_text(lost)} |" for name, lost in evaluation.contributions.items()),
        "",
    ]


def _intervals(intervals: Mapping[str, Any] | None) -> list[str]:
    if intervals is None:
        return ["No prediction intervals: training set no genes apart to calibrate them.", ""]
    covered = intervals["test_coverage"]
    per_gene, per_transcript = (
        "n/a" if covered[name] is None else f"{covered[name]:.3f}" for name in ("per_gene", "per_transcript")
    )
    return [
        f"Prediction intervals of level {intervals['level']:g} (split conformal, per tissue), calibrated on "
        f"{intervals['calibration']['genes']:,} genes that neither training nor early stopping read. The level holds "
        "per gene: for a random transcript of a random gene. On the test split they cover "
        f"{per_gene} per gene and {per_transcript} per transcript.",
        "",
    ]


def _text(figure: Interval) -> str:
    if figure.value != figure.value:
        return "n/a"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
