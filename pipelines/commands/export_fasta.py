"""`isoformer export-fasta`: transcripts as FASTA, extracted before or straight from a genome and its annotation."""

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
    genome: Annotated[Path | None, typer.Option("--genome", help="A genome, with --annotation, instead.")] = None,
    annotation: Annotated[Path | None, typer.Option("--annotation", help="GTF or GFF3 of that genome.")] = None,
) -> None:
    """Write the RNA, CDS and protein of every transcript as FASTA: those extracted, or all of --annotation."""
    if (genome is None) != (annotation is None):
        raise typer.BadParameter("--genome and --annotation belong together: give both or neither")
    if genome is not None and annotation is not None:
        from components.extract_sequences.raw_fasta import fasta_of_raw

        told = fasta_of_raw(genome, annotation, out)
        records, dropped = told.records, told.dropped
    else:
        from components.extract_sequences.export_fasta import export_fasta

        records, dropped = export_fasta(transcripts, out), {}
    for name, count in records.items():
        typer.echo(f"{out / name}: {count:,} records")
    for reason, count in dropped.items():
        typer.echo(f"left out: {count:,} transcripts ({reason})")
