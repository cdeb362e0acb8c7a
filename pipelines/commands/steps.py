"""The sub-commands of the six steps, made of the stage table."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.commands.options import (
    DEFAULT_WORK,
    Data,
    Door,
    Out,
    Overrides,
    ParamsFile,
    Preset,
    Work,
    plain_app,
    resolve,
)
from pipelines.stages import RAW_INPUTS, STAGES, Stage, producer


def build(command: str) -> typer.Typer:
    """The application of one step's sub-command, with one option per input."""
    stage = next(item for item in STAGES if item.command == command)

    def run(**options: Any) -> None:
        _run(stage, **options)

    run.__doc__ = stage.summary
    parameters = _parameters(stage)
    run.__annotations__ = {item.name: item.annotation for item in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    app = plain_app()
    app.command(name=stage.command)(run)
    return app


def _parameters(stage: Stage) -> list[inspect.Parameter]:
    options: list[tuple[str, Any, Any]] = [("params", ParamsFile, None), ("preset", Preset, None)]
    options.append(("overrides", Overrides, None))
    if set(RAW_INPUTS) & set(stage.inputs) or stage.optional:
        options.append(("data", Data, None))
    options += [_input_option(name) for name in (*stage.inputs, *stage.optional)]
    options += [("out", Out, Path(stage.place)), ("work", Work, DEFAULT_WORK), ("door", Door, "cli")]
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, annotation, default in options
    ]


_OPTIONAL_HELP = {
    "truth": "truth.json of simulated data; the one among the raw files, if it is about these, if not given.",
    "families": "Table of genes and their families, for the splits; data.families if not given.",
    "regions": "BED file of regions, for extract.split.policy = region; data.regions if not given.",
    "previous": "Transcripts of the dataset before this one, to compare with; data.previous if not given.",
    "champion": "Folder of the champion to compare with; that of package.registry, if there is one, if not given.",
}


def _input_option(name: str) -> tuple[str, Any, Any]:
    flag = "--" + name.replace("_", "-")
    made_by = producer(name)
    if made_by is None:
        text = _OPTIONAL_HELP.get(name, "This raw file, where its name differs from the documented one.")
        return name, Annotated[Path | None, typer.Option(flag, help=text)], None
    return name, Annotated[Path, typer.Option(flag, help=f"What {made_by.command} wrote.")], Path(made_by.place)


def _run(
    stage: Stage,
    *,
    params: Path | None,
    preset: str | None,
    overrides: list[str] | None,
    out: Path,
    work: Path,
    door: str,
    data: Path | None = None,
    **inputs: Path | None,
) -> None:
    from components.champion import find_champion
    from components.harness import run_step
    from components.optional_data import OPTIONAL_NAMES, find_optional_data
    from components.raw_data import find_raw_data, find_truth

    tree = resolve(params, preset, overrides, data=data)
    paths = {name: path for name, path in inputs.items() if path is not None}
    own = {name: str(path.absolute()) for name, path in paths.items() if name in (*RAW_INPUTS, *OPTIONAL_NAMES)}
    named = tree.data.model_copy(update=own)
    if set(RAW_INPUTS) & set(stage.inputs):
        paths |= find_raw_data(Path(tree.data.folder), named)
    if set(OPTIONAL_NAMES) & set(stage.optional):
        paths |= find_optional_data(Path(tree.data.folder), named)
    if "truth" in stage.optional and "truth" not in paths:
        paths |= find_truth(Path(tree.data.folder), paths["transcripts"])
    if "champion" in stage.optional and "champion" not in paths and tree.evaluate.champion:
        paths |= find_champion(tree.package.registry, paths["model"], work)
    run_step(stage.name, inputs=paths, params=tree, out=out, work=work, through=door)
