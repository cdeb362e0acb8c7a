"""`isoformer params`: what a parameter file, a preset and overrides resolve to."""

from __future__ import annotations

import typer

from pipelines.commands.options import Overrides, ParamsFile, Preset, plain_app, resolve


def build(command: str) -> typer.Typer:
    """The application of `isoformer params`."""
    app = plain_app("Show what params.yaml, a preset and --set resolve to.")
    app.command("show")(show)
    return app


def show(params: ParamsFile = None, preset: Preset = None, overrides: Overrides = None) -> None:
    """Print the whole tree as YAML, every default included."""
    import yaml

    tree = resolve(params, preset, overrides)
    typer.echo(yaml.safe_dump(tree.model_dump(mode="json"), sort_keys=False, allow_unicode=True), nl=False)
