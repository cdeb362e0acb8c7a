"""The registry's champion as an input of the evaluation: its exported network, and what it was trained on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from components.artifacts import open_artifact, write_json
from components.registry import Record, Registry
from model.onnx_backend import dna_graph

DESCRIPTION = "champion.json"
GRAPH, CONFIG = "model.onnx", "config.json"


def find_champion(registry: str, model: Path, work: Path) -> dict[str, Path]:
    """{"champion": folder} with the champion of `registry`, verified; empty where there is none.

    Empty too where the champion is the model of the artifact `model` itself: nothing can be learnt from comparing a
    model with itself, and a second evaluation of it equals the first. The folder holds champion.json, config.json and
    model.onnx with its DNA tower, so that its digest is the same wherever the registry lies.
    """
    opened = Registry(registry)
    standing = opened.champion()
    if standing is None:
        return {}
    record = opened.show(standing["version"])
    if record["model_digest"] == open_artifact(model, "model", verify=False).digest:
        return {}
    return {"champion": _folder(opened, record, work / "champion" / str(record["version"]))}


def _folder(registry: Registry, record: Record, place: Path) -> Path:
    """The champion's files in a folder of their own, made anew."""
    graph = str(record["onnx"])
    parent = graph.rpartition("/")[0]
    wanted = {f"{parent}/{CONFIG}": CONFIG}
    for stored, local in ((Path(graph), Path(GRAPH)), (dna_graph(Path(graph)), dna_graph(Path(GRAPH)))):
        wanted |= {stored.as_posix(): local.name, f"{stored.as_posix()}.data": f"{local.name}.data"}
    source = registry.fetch(str(record["version"]), place.parent / "fetched", names=wanted)
    partial = place.with_name(f".{place.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, plain in wanted.items():
        if (source / name).is_file():
            _link(source / name, partial / plain)
    description = {
        "version": record["version"],
        "model_digest": record["model_digest"],
        "transcripts": record["inputs"]["transcripts"],
    }
    write_json(partial / DESCRIPTION, description)
    shutil.rmtree(place, ignore_errors=True)
    partial.rename(place)
    return place


def _link(source: Path, target: Path) -> None:
    """A hard link where the file system makes one, else a copy: weights are large."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
