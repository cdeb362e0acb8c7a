"""`isoformer seeds`: figures over several seeds, as mean and standard deviation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import plain_app


def build(command: str) -> typer.Typer:
    """The application of `isoformer seeds`."""
    app = plain_app()
    app.command(name=command)(seeds)
    return app


def seeds(
    evaluations: Annotated[list[Path], typer.Argument(help="Evaluations of one dataset, one per seed.")],
    as_json: Annotated[bool, typer.Option("--json", help="Everything, per tissue too, as JSON.")] = False,
) -> None:
    """Mean and standard deviation of the figures of several seeds."""
    from components.evaluate_model.scores import DERIVED_HEADINGS, HEADINGS
    from components.evaluate_model.seeds import summarize_seeds

    summary = summarize_seeds(evaluations)
    if as_json:
        typer.echo(json.dumps(summary, indent=1, ensure_ascii=False))
        return
    typer.echo(f"mean ± sd of {summary['seeds']} seeds, test split")
    for name, heading in {**HEADINGS, **DERIVED_HEADINGS}.items():
        figure = summary["model"][name]
        text = "n/a" if figure["mean"] is None else f"{figure['mean']:.3f} ± {figure['sd']:.3f}"
        typer.echo(f"{heading:18} {text}")
