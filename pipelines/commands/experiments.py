"""`isoformer experiments`: the paper's questions, asked of your own data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import Data, Overrides, ParamsFile, Preset, plain_app, resolve

DEFAULT_OUT = Path("runs/experiments")
Folder = Annotated[Path, typer.Option("--out", help="Folder of the experiments: plans, trials, report.")]


def build(command: str) -> typer.Typer:
    """The application of `isoformer experiments`."""
    app = plain_app("The paper's experiments: modalities, DNA encoder, aggregation, pre-training, targets, seeds.")
    app.command("run")(run)
    app.command("report")(report)
    return app


def run(
    suite: Annotated[
        str, typer.Option("--suite", help="modalities, dna-encoder, aggregation, pre-training, targets, seeds.")
    ],
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings per configuration.")] = 5,
    transcripts: Annotated[
        list[Path] | None, typer.Option("--transcripts", help="What extract-sequences wrote; one per window length.")
    ] = None,
    pretrained: Annotated[
        list[str] | None, typer.Option("--pretrained", help="dna=PATH, rna=PATH, protein=PATH: for suite pre-training.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="This configuration of the suite alone; repeatable.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=0, help="Trials at a time; 0 = as the machine allows.")] = 0,
    price_per_hour: Annotated[
        float | None, typer.Option("--price-per-hour", min=0, help="Of this machine, for an estimate of cost.")
    ] = None,
    out: Folder = DEFAULT_OUT,
    data: Data = None,
    params: ParamsFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
) -> None:
    """Run what is missing of a suite; the same command goes on after a stop or a crash."""
    from pipelines.experiments.suite import run_suite

    run_suite(
        suite,
        resolve(params, preset, overrides, data=data),
        seeds=seeds,
        transcripts=transcripts or [Path("artifacts/transcripts")],
        pretrained=pretrained or [],
        jobs=jobs,
        price_per_hour=price_per_hour,
        out=out,
        only=only or [],
    )


def report(
    out: Folder = DEFAULT_OUT,
    resamples: Annotated[
        int, typer.Option("--resamples", min=200, help="Of genes and seeds, for the intervals.")
    ] = 2000,
) -> None:
    """Write report.html, report.md and report.tex from what is done, and say what is missing."""
    from components.experiments.report import write_report

    for path in write_report(out, resamples=resamples):
        typer.echo(path)
