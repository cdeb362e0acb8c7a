"""`isoformer fetch-data`: the official files, whole and as recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import plain_app

SOURCES = Path("data/sources.yaml")
OUT = Path("data/gtex_v8")


def build(command: str) -> typer.Typer:
    """The application of `isoformer fetch-data`."""
    app = plain_app()
    app.command(command)(fetch_data)
    return app


def fetch_data(
    sources: Annotated[Path, typer.Option("--sources", help="Table of files and their addresses.")] = SOURCES,
    out: Annotated[Path, typer.Option("--out", help="Folder that the files get into.")] = OUT,
    only: Annotated[list[str] | None, typer.Option("--only", help="Only this file; repeatable.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="The optional files too.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Show what would be fetched, and fetch nothing.")] = False,
) -> None:
    """Fetch GRCh38, GENCODE v26 and GTEx v8 (about 5 GB); an interrupted fetch goes on where it was."""
    from components.fetch_data.fetch import chosen, fetch
    from components.fetch_data.sources import lock_of, read_sources

    table = read_sources(sources)
    names = chosen(table, only or (), everything)
    if show:
        for name in names:
            typer.echo(f"{name}: {table.files[name].what}\n  " + "\n  ".join(table.files[name].addresses))
        return
    fetch(table, out, lock_of(sources), names=names, say=typer.echo)
    typer.echo(f"next: isoformer validate-data --data {out}")
