"""`isoformer export-fasta`: extracted transcripts as FASTA, to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import plain_app
from pipelines.stages import stage

TRANSCRIPTS = Path(stage("extract_sequences").place)


def build(command: str) -> typer.Typer:
    """The application of `isoformer export-fasta`."""
    app = plain_app()
    app.command(command)(export)
    return app


def export(
    transcripts: Annotated[Path, typer.Option("--transcripts", help="What extract-sequences wrote.")] = TRANSCRIPTS,
    out: Annotated[Path, typer.Option("--out", help="Folder for rna.fa, cds.fa and protein.fa.")] = Path("fasta"),
) -> None:
    """Write the RNA, CDS and protein of every extracted transcript as FASTA."""
    from components.extract_sequences.export_fasta import export_fasta

    for name, records in export_fasta(transcripts, out).items():
        typer.echo(f"{out / name}: {records:,} records")
