"""`isoformer pretrain-language` and `pretrain-tracks`: one encoder, before any expression is seen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import DEFAULT_WORK, Out, Overrides, ParamsFile, Preset, Work, plain_app, resolve

if TYPE_CHECKING:
    from components.params import Params

_OUT = Path("runs/pretrained")


def build(command: str) -> typer.Typer:
    """The application of one of the two."""
    app = plain_app()
    if command == "pretrain-tracks":
        app.command(command)(pretrain_tracks)
    else:
        app.command(command)(pretrain_language)
    return app


def pretrain_language(
    tower: Annotated[str, typer.Option("--tower", help="rna, protein, or dna where it reads six-mers.")],
    fasta: Annotated[Path, typer.Option("--fasta", help="Sequences to learn from: FASTA, plain or gzipped.")],
    out: Out = _OUT,
    work: Work = DEFAULT_WORK,
    params: ParamsFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
) -> None:
    """Pre-train a token encoder by masked language modelling; data.weights.TOWER=OUT/payload trains on from it."""
    _run(tower, {"fasta": fasta}, resolve(params, preset, overrides), out, work)


def pretrain_tracks(
    genome: Annotated[Path, typer.Option("--genome", help="FASTA of the genome, plain or gzipped.")],
    tracks: Annotated[list[Path], typer.Option("--track", help="BED or bedGraph along it; repeatable.")],
    out: Out = _OUT,
    work: Work = DEFAULT_WORK,
    params: ParamsFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
) -> None:
    """Pre-train the Enformer to predict tracks; data.weights.dna=OUT/payload trains on from it."""
    inputs = {"genome": genome, **{f"track_{number}": path for number, path in enumerate(tracks)}}
    _run("dna", inputs, resolve(params, preset, overrides), out, work)


def _run(tower: str, inputs: dict[str, Path], params: Params, out: Path, work: Path) -> None:
    from components.artifacts import AlreadyComplete
    from components.harness import THREADING
    from components.pretrain_tower.step import run
    from model.config import MODALITIES
    from model.errors import InputError

    if tower not in MODALITIES:
        raise InputError(
            where="--tower", expected=f"one of {', '.join(MODALITIES)}", found=repr(tower), fix="Correct the name."
        )
    for variable, value in THREADING.items():
        os.environ.setdefault(variable, value)
    try:
        run(
            {name: path.absolute() for name, path in inputs.items()},
            params,
            out.absolute(),
            work.absolute(),
            tower=tower,
        )
    except AlreadyComplete:
        typer.echo(f"{out} is complete already")
    else:
        typer.echo(f"wrote {out}")
