"""Compiling the pipeline into the package that a Kubeflow installation takes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from model.errors import InputError
from pipelines.graphs import build
from pipelines.policy import Cluster


def compile_package(out: Path, cluster: Cluster, params_json: str, pipeline: str = "training") -> None:
    """Write the compiled pipeline of that name at `out`, whole or not at all; equal arguments give equal bytes."""
    from kfp import compiler

    if out.suffix not in (".yaml", ".yml"):
        raise InputError(where="--out", expected="a name ending in .yaml", found=str(out), fix="Rename it.")
    out.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(dir=out.parent, prefix=f".{out.stem}.partial.", suffix=".yaml")
    os.close(descriptor)
    try:
        compiler.Compiler().compile(build(pipeline, cluster, params_json), partial)
        Path(partial).chmod(0o644)
        os.replace(partial, out)
    finally:
        Path(partial).unlink(missing_ok=True)
