"""Assembling and building the Bento: the serving code, the packaged model, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.artifacts import config_digest, sha256_file, write_json

NAME = "isoformer"
SERVICE = "serving.service:service"
PACKAGE = "package"
# What serving imports, by folder below the project's root. Explicit: `bentoml build` would take whatever lies there.
CODE = {
    "model": ("__init__", "errors", "config", "tokenizers", "batch", "predictor", "onnx_backend", "window_cache"),
    "components": ("__init__", "artifacts", "sequences", "variants"),
}
SERVING_PATTERNS = ("serving/*.py", "serving/static/*")
# Starts a Bento, so is no part of one; it would bring the registry along.
NOT_SERVED = ("serving/serve.py",)
# The distributions that this code imports; the others in requirements.txt are what these need.
REQUIREMENTS = (
    *("bentoml", "httptools", "model-signing", "numpy", "onnxruntime", "opentelemetry-api", "prometheus-client"),
    *("pyarrow", "pydantic", "pyopenssl", "starlette", "uvicorn"),
)
# Besides, where a package holds PyTorch weights for servers with a GPU: all of model/, which is small.
TORCH_REQUIREMENTS = ("safetensors", "torch")
TORCH_PATTERN = "model/**/*.py"
WEIGHTS = "model*.safetensors*"
_ROOT = Path(__file__).resolve().parents[2]
# BentoML stamps the moment of the build; an artifact's payload holds no clock.
_CREATION_TIME = re.compile(r"^creation_time: .*$", re.MULTILINE)
_EPOCH = "creation_time: 1970-01-01T00:00:00+00:00"


def stage_code(source: Path, *, torch: bool = False) -> str:
    """Copy the serving code, that of the PyTorch network too if asked, and its pins into `source`; returns a digest."""
    files = [f"{folder}/{name}.py" for folder, names in CODE.items() for name in names]
    for pattern in (*SERVING_PATTERNS, *([TORCH_PATTERN] if torch else [])):
        files += [path.relative_to(_ROOT).as_posix() for path in _ROOT.glob(pattern) if path.is_file()]
    for name in sorted(set(files) - set(NOT_SERVED)):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_ROOT / name, source / name)
    (source / "requirements.txt").write_text("\n".join(requirements(torch=torch)) + "\n", encoding="utf-8")
    return config_digest(_digests(source))


def seal(source: Path, about: Mapping[str, Any]) -> None:
    """Write package/about.json, then package/files.json with the sha256 of every file: the server checks them."""
    package = source / PACKAGE
    (package / "files.json").unlink(missing_ok=True)
    write_json(package / "about.json", dict(about))
    write_json(package / "files.json", {"files": _digests(source)})


def build(source: Path, version: str, home: Path) -> Path:
    """Run `bentoml build` on `source` with its store at `home`; returns the folder of the Bento.

    Raises `RuntimeError` with BentoML's output where it fails.
    """
    options = {
        "service": SERVICE,
        "name": NAME,
        "include": [f"{folder}/**" for folder in (*CODE, "serving", PACKAGE)] + ["requirements.txt"],
        "exclude": ["**/__pycache__/**"],
        "description": "IsoFormer: transcript isoform expression in human tissues.",
        "docker": {"distro": "debian", "python_version": "3.11"},
        # The requirements are pinned already; BentoML would resolve them again over the network.
        "python": {"requirements_txt": "./requirements.txt", "lock_packages": False},
    }
    # JSON is YAML.
    write_json(source / "bentofile.yaml", options)
    command = [sys.executable, "-m", "bentoml", "build", "--version", version, "--output", "tag", str(source)]
    done = subprocess.run(
        command, cwd=source, env=bentoml_environment(home), check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"bentoml build ended with status {done.returncode}: {done.stderr[-2000:]}")
    bento = home / "bentos" / NAME / version
    for cache in list(bento.rglob("__pycache__")):
        shutil.rmtree(cache)
    record = bento / "bento.yaml"
    text, stamped = _CREATION_TIME.subn(_EPOCH, record.read_text(encoding="utf-8"))
    if stamped != 1:
        raise RuntimeError(f"{record}: expected one creation_time, found {stamped}")
    record.write_text(text, encoding="utf-8")
    return bento


def bentoml_environment(home: Path) -> dict[str, str]:
    """The environment of BentoML's processes: a store of their own, no telemetry, no settings of another server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BENTOML_", "ISOFORMER_"))}
    return {
        **kept,
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }


def requirements(*, torch: bool = False) -> list[str]:
    """name==version of everything that a Bento needs."""
    return pinned_requirements((*REQUIREMENTS, *(TORCH_REQUIREMENTS if torch else ())))


def pinned_requirements(roots: tuple[str, ...]) -> list[str]:
    """name==version of the distributions `roots` and of all that they need here, as installed, sorted."""
    from importlib.metadata import PackageNotFoundError, distribution

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins: dict[str, str] = {}
    waiting = list(roots)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in pins:
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:
            if name in roots:
                raise
            continue
        # A local version label (+cpu) names a build that an index need not have.
        pins[name] = found.version.partition("+")[0]
        needs = [Requirement(text) for text in found.requires or ()]
        waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return [f"{name}=={version}" for name, version in sorted(pins.items())]


def _digests(folder: Path) -> dict[str, str]:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: sha256_file(folder / name) for name in names}
