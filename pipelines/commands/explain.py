"""`isoformer explain`: which letters of one transcript its prediction hangs on."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import plain_app
from pipelines.stages import stage


class Modality(StrEnum):
    """A sequence that can be mutated."""

    dna = "dna"
    rna = "rna"
    protein = "protein"


def build(command: str) -> typer.Typer:
    """The application of `isoformer explain`."""
    app = plain_app()
    app.command(name=command)(explain)
    return app


def explain(
    transcript: Annotated[str, typer.Option("--transcript", help="Its id, with or without version.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for effects.tsv and explanation.html.")] = Path(
        "runs/explanation"
    ),
    model: Annotated[Path, typer.Option("--model", help="What train-model wrote.")] = Path(stage("train_model").place),
    transcripts: Annotated[Path, typer.Option("--transcripts", help="What extract-sequences wrote.")] = Path(
        stage("extract_sequences").place
    ),
    tissue: Annotated[str | None, typer.Option("--tissue", help="Shown in the plot; their mean if not given.")] = None,
    modality: Annotated[list[Modality] | None, typer.Option("--modality", help="Mutate only this; repeatable.")] = None,
    dna_bp: Annotated[
        int, typer.Option("--dna-bp", min=1, help="Mutate only this much of the DNA window, around the TSS.")
    ] = 512,
    threads: Annotated[int, typer.Option("--threads", min=0, help="CPU threads; 0 = PyTorch's choice.")] = 0,
) -> None:
    """In-silico mutagenesis of one transcript, as a table and a page with a plot."""
    from components.evaluate_model.explanation import explain_transcript, write_explanation

    explained = explain_transcript(
        model,
        transcripts,
        transcript,
        modalities=[item.value for item in modality or list(Modality)],
        tissue=tissue,
        dna_bp=dna_bp,
        threads=threads,
    )
    write_explanation(explained, out)
    typer.echo(f"wrote {out / 'explanation.html'} and {out / 'effects.tsv'}", err=True)
