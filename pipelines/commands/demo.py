"""`isoformer demo`: the whole way, on simulated data or on your own files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import Overrides, ParamsFile, Preset, plain_app, resolve


def build(command: str) -> typer.Typer:
    """The application of `isoformer demo`."""
    app = plain_app()
    app.command("demo")(demo)
    return app


def demo(
    data: Annotated[Path | None, typer.Option("--data", help="Your own raw files instead of simulated ones.")] = None,
    runs: Annotated[Path, typer.Option("--runs", help="Where the demo's own folder is made.")] = Path("runs"),
    params: ParamsFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
) -> None:
    """Run everything in a fresh folder: data, pipeline, verdict, and if blessed a server that is asked and stopped.

    Exit status 0 with a verdict either way: "not blessed" is an answer. 2 on bad input, 1 on a failure.
    """
    from pipelines.demo import run_demo

    run_demo(resolve(params, preset, overrides, data=data), data=data, runs=runs)
