"""`isoformer registry`: versions of models, and who is champion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import ParamsFile, RegistryRoot, plain_app, resolve

if TYPE_CHECKING:
    from components.registry import Registry

Version = Annotated[str, typer.Argument(help="A version's name or model digest, or its beginning.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the promotion record.")]


def build(command: str) -> typer.Typer:
    """The application of `isoformer registry`."""
    app = plain_app("Versions of models, and who is champion.")
    for name, function in (("list", list_versions), ("show", show), ("promote", promote), ("rollback", rollback)):
        app.command(name)(function)
    return app


def list_versions(registry: RegistryRoot = None, params: ParamsFile = None) -> None:
    """Print every version: when registered, its R², and a star at the champion."""
    opened = _open(registry, params)
    records = opened.list()
    if not records:
        typer.echo(f"registry {opened.root}: no version yet")
    for record in records:
        r2 = record.get("metrics", {}).get("r2")
        score = "" if r2 is None else f"  R² {r2:.3f}"
        simulated = "  SIMULATED" if record.get("simulated") else ""
        typer.echo(
            f"{'*' if record['champion'] else ' '} {record['version']}  {record['registered']}{score}{simulated}"
        )


def show(version: Version, registry: RegistryRoot = None, params: ParamsFile = None) -> None:
    """Print a version's record as JSON."""
    typer.echo(json.dumps(_open(registry, params).show(version), indent=1, ensure_ascii=False))


def promote(
    version: Version, registry: RegistryRoot = None, params: ParamsFile = None, reason: Reason = "by hand"
) -> None:
    """Make a version champion."""
    record = _open(registry, params).promote(version, reason=reason)
    typer.echo(f"champion: {record['version']} (promotion {record['number']})")


def rollback(registry: RegistryRoot = None, params: ParamsFile = None, reason: Reason = "rollback") -> None:
    """Make the champion before this one champion again."""
    record = _open(registry, params).rollback(reason=reason)
    typer.echo(f"champion: {record['version']} (promotion {record['number']})")


def _open(root: str | None, params: Path | None) -> Registry:
    from components.registry import Registry

    return Registry(resolve(params, None, None, registry=root).package.registry)
