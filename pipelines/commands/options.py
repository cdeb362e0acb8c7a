"""Options that several sub-commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from components.params import Params

DEFAULT_PARAMS = Path("params.yaml")
DEFAULT_WORK = Path("runs/work")

ParamsFile = Annotated[
    Path | None, typer.Option("--params", help="Parameter file; params.yaml of this folder if there is one.")
]
Preset = Annotated[str | None, typer.Option("--preset", help="Named preset on top of the file, e.g. sanity.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="section.key=value, on top of all; repeatable.")]
Data = Annotated[Path | None, typer.Option("--data", help="Folder of the raw files; data.folder if not given.")]
Out = Annotated[Path, typer.Option("--out", help="Where the result appears, whole or not at all.")]
Work = Annotated[Path, typer.Option("--work", help="Scratch folder that survives a crash: checkpoints live there.")]
Door = Annotated[str, typer.Option("--door", hidden=True, help="Which way in this is: told in run.json.")]
RegistryRoot = Annotated[
    str | None, typer.Option("--registry", help="Folder or s3://bucket/prefix; package.registry if not given.")
]


def plain_app(text: str | None = None, **settings: Any) -> typer.Typer:
    """An application without rich pages and tracebacks, which cost start time and show local variables.

    With `text` it is a group of commands with that help.
    """
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=text is not None,
        **settings,
    )
    if text is not None:
        app.callback(help=text)(lambda: None)
    return app


def resolve(
    file: Path | None,
    preset: str | None,
    overrides: list[str] | None,
    *,
    data: Path | None = None,
    registry: str | None = None,
) -> Params:
    """The parameters that these options mean."""
    from components.params import load_params

    if file is None and DEFAULT_PARAMS.is_file():
        file = DEFAULT_PARAMS
    params = load_params(file, preset=preset, overrides=overrides or ())
    if data is not None:
        params = params.model_copy(update={"data": params.data.model_copy(update={"folder": str(data)})})
    if registry is not None:
        params = params.model_copy(update={"package": params.package.model_copy(update={"registry": registry})})
    return params
