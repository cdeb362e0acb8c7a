"""A packaged model on this machine, asked without a server: the same files and the same path of inference."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.artifacts import open_artifact
from components.registry import Registry
from model.config import IsoFormerConfig
from model.errors import InputError
from model.onnx_backend import OnnxBackend
from model.predictor import Predictor

# On a CPU larger batches of unlike lengths cost more than they save (docs/performance.md, serving).
_BUDGET_TOKENS = 1_024


@dataclass(frozen=True)
class PackagedModel:
    """What describes it, its configuration, and its predictor."""

    about: dict[str, Any]
    config: IsoFormerConfig
    predictor: Predictor


def open_packaged(
    bento: Path | None = None, *, registry: str = "registry", version: str | None = None, threads: int = 0
) -> PackagedModel:
    """The model of a bento artifact, or of a version of a registry, by default the champion; all files are verified.

    Raises `InputError` where there is none or it is damaged.
    """
    return open_package(find_package(bento, registry=registry, version=version), threads=threads)


def find_package(
    bento: Path | None = None, *, registry: str = "registry", version: str | None = None, cache: Path | None = None
) -> Path:
    """The folder with what a server needs, of a bento artifact or of a version of a registry; see `open_packaged`.

    `cache`: for files of a registry that is no folder; the user's cache folder if None.
    """
    if bento is not None:
        payload = open_artifact(bento, "bento").payload
    else:
        opened = Registry(registry)
        champion = opened.champion()
        if version is None and champion is None:
            raise InputError(
                where=f"registry {registry}",
                expected="a champion",
                found="no promotion",
                fix="Name a --version or a --bento, or run the pipeline to a blessed model.",
            )
        name = version or str((champion or {})["version"])
        if cache is None:
            cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isoformer" / "versions"
        payload = opened.fetch(name, cache)
    return payload / "bento" / "src" / "package"


def open_package(package: Path, *, threads: int = 0) -> PackagedModel:
    """The model in such a folder, with so many CPU threads; 0 = all cores."""
    config = IsoFormerConfig.from_dict(json.loads((package / "config.json").read_text(encoding="utf-8")))
    backend = OnnxBackend(package / "model.onnx", config, threads=threads)
    about = json.loads((package / "about.json").read_text(encoding="utf-8"))
    return PackagedModel(about, config, Predictor(backend, config, _BUDGET_TOKENS))
