"""What a run came to, for people: figures against baselines, the verdict, and where the report is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from components.artifacts import Artifact, open_artifact
from pipelines.local_run import LocalRun

SIMULATED = "SIMULATED expression: no figure here says anything about biology."
_HEADINGS = {"r2": "R²", "spearman": "Spearman", "within_gene_spearman": "isoform Spearman"}


def evaluation_of(run: LocalRun) -> Artifact:
    """The verified evaluation that a run made."""
    return open_artifact(run.artifacts["evaluation"], "evaluation")


def is_blessed(evaluation: Artifact) -> bool:
    """Whether the verdict allows packaging."""
    return bool(_read(evaluation, "verdict.json")["blessed"])


def print_outcome(run: LocalRun) -> None:
    """Print what a run came to: of a training the figures and the verdict; places of reports, and seconds per step."""
    from rich.console import Console

    # A pipe or a log has no width of its own; 80 columns would cut the intervals.
    console = Console(width=None if os.isatty(1) else 120, highlight=False)
    console.print()
    if "drift" in run.artifacts:
        drift = open_artifact(run.artifacts["drift"], "drift")
        record = _read(drift, "drift.json")
        moved = f" in {', '.join(record['moved'])}" if record["moved"] else ""
        console.print(f"Monitoring: {record['verdict']}{moved}, of {record['transcripts']:,} transcripts", style="bold")
        console.print(f"Report:     {shown(drift.payload / 'report.html')}", soft_wrap=True)
    if "predictions" in run.artifacts:
        predictions = open_artifact(run.artifacts["predictions"], "predictions")
        summary = _read(predictions, "summary.json")
        if summary["model"]["simulated"]:
            console.print(SIMULATED, style="bold yellow")
        console.print(f"Predicted:  {shown(predictions.payload / summary['file'])}", soft_wrap=True)
        console.print(f"Report:     {shown(predictions.payload / 'report.html')}", soft_wrap=True)
    if "evaluation" in run.artifacts:
        _print_evaluation(console, run)
    console.print("Seconds:    " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in run.seconds.items()))
    console.print(f"Summary:    {shown(run.summary)}", soft_wrap=True)
    console.print(f"Log:        {shown(run.log)}", soft_wrap=True)


def _print_evaluation(console: Any, run: LocalRun) -> None:
    evaluation = evaluation_of(run)
    metrics, verdict = _read(evaluation, "metrics.json"), _read(evaluation, "verdict.json")
    console.print(_table(metrics))
    if metrics["simulated"]:
        console.print(SIMULATED, style="bold yellow")
    console.print("Verdict: " + ("BLESSED" if verdict["blessed"] else "NOT BLESSED"), style="bold")
    for reason in verdict["reasons"]:
        console.print(f"  - {reason}", markup=False)
    if not verdict["blessed"]:
        console.print("Packaging was skipped: only a blessed model is packaged.")
    console.print(f"Report:     {shown(evaluation.payload / 'report.html')}", soft_wrap=True)
    console.print(f"Model card: {shown(evaluation.payload / 'model_card.md')}", soft_wrap=True)
    console.print(f"Data check: {shown(run.artifacts['validation'] / 'payload' / 'report.html')}", soft_wrap=True)


def _table(metrics: dict[str, Any]) -> Any:
    from rich.table import Table

    title = f"Test split: {metrics['transcripts']:,} transcripts of {metrics['genes']:,} unseen genes, mean of tissues"
    table = Table(title=title + (" (SIMULATED)" if metrics["simulated"] else ""))
    for heading in ("prediction", *_HEADINGS.values(), "R² gained by the model"):
        table.add_column(heading, no_wrap=True)
    table.add_row("this model", *(_figure(metrics["model"][name]) for name in _HEADINGS), "", style="bold")
    for name, scores in metrics["baselines"].items():
        figures = (_figure(scores[key]) for key in _HEADINGS)
        table.add_row(name.replace("_", " "), *figures, _figure(scores["r2_gained_by_model"]))
    ceilings = metrics["ceilings"]
    if ceilings:
        best = max(ceilings.values())
        reached = max(0.0, metrics["model"]["r2"]["value"] or 0.0) / best
        table.add_row("noise ceiling", f"{best:.3f}", "", "", f"{reached:.0%} of it reached")
    return table


def _figure(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "not defined"
    if figure["low"] is None or figure["high"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} [{figure['low']:.2f}, {figure['high']:.2f}]"


def shown(path: Path) -> str:
    """The path as a user would type it: from the current folder where it lies below."""
    place = path.absolute()
    return str(place.relative_to(Path.cwd())) if place.is_relative_to(Path.cwd()) else str(place)


def _read(artifact: Artifact, name: str) -> dict[str, Any]:
    return dict(json.loads((artifact.payload / name).read_text(encoding="utf-8")))
