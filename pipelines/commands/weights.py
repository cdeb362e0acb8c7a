"""`isoformer convert-weights`, `inspect-weights` and `init-model`: published weights, from local files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.commands.options import plain_app

KeyMap = Annotated[
    Path | None, typer.Option("--key-map", help="YAML or JSON that corrects tensor names (docs/weights.md).")
]
Weights = Annotated[Path | None, typer.Option(help="Local safetensors file, index or folder.")]


def build(command: str) -> typer.Typer:
    """The application of one of the three commands."""
    functions: dict[str, Callable[..., Any]] = {
        "convert-weights": convert,
        "inspect-weights": inspect,
        "init-model": init_model,
    }
    app = plain_app()
    app.command(command)(functions[command])
    return app


def convert(
    source: Annotated[Path, typer.Argument(help="A published .bin or .pt file.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
) -> None:
    """Turn a published .bin or .pt file into safetensors, once, in a process of its own."""
    from model.convert_weights import convert_in_own_process

    typer.echo(convert_in_own_process(source, target))


def inspect(
    path: Annotated[Path, typer.Argument(help="A safetensors file, an index of shards, or their folder.")],
    key_map: KeyMap = None,
) -> None:
    """Say what a file of weights is: layout, sizes, types, which named network it fits, licence."""
    from model.inspect_weights import inspect_weights

    for line in inspect_weights(path, key_map):
        typer.echo(line)


def init_model(
    out: Annotated[Path, typer.Argument(help="The model's folder to write.")],
    preset: Annotated[str, typer.Option(help="Named network (model/presets.py).")] = "isoformer",
    isoformer: Weights = None,
    dna: Weights = None,
    rna: Weights = None,
    protein: Weights = None,
    key_map: KeyMap = None,
    new_head: Annotated[bool, typer.Option("--new-head", help="Start a new head, for other tissues.")] = False,
    tissue: Annotated[list[str] | None, typer.Option(help="A tissue, repeatable; the paper's 30 if none.")] = None,
    seed: Annotated[int, typer.Option(help="Of what is initialised at random.")] = 0,
) -> None:
    """Make a model folder from published weights: the whole of a checkpoint, or encoder by encoder.

    What is not given starts at random, and is named. The released IsoFormer fits --preset isoformer-released.
    """
    from model.initial import initial_model

    model, lines = initial_model(
        preset,
        isoformer=isoformer,
        towers={name: path for name, path in (("dna", dna), ("rna", rna), ("protein", protein)) if path is not None},
        key_map=key_map,
        new_head=new_head,
        tissues=tuple(tissue or ()),
        seed=seed,
    )
    for line in lines:
        typer.echo(line)
    model.save_pretrained(out)
    typer.echo(f"{out}: {sum(p.numel() for p in model.parameters()):,} parameters")
