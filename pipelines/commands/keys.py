"""`isoformer keys`: the keys by which packaged models are signed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import plain_app


def build(command: str) -> typer.Typer:
    """The application of `isoformer keys`."""
    app = plain_app("Keys by which packaged models are signed.")
    app.command("create")(create)
    return app


def create(out: Annotated[Path, typer.Option("--out", help="Folder for the two files.")] = Path("keys")) -> None:
    """Make a key pair: package with package.signing_key, serve with --public-key."""
    from components.package_model.signing import create_keys

    private, public = create_keys(out)
    typer.echo(f"private key, keep it secret: {private}\npublic key, for the servers: {public}")
