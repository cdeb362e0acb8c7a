"""Compiling the pipeline into the package that a Kubeflow installation takes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from model.errors import InputError
from pipelines.graphs import build
from pipelines.policy import Cluster

TRAINS_ONE_MODEL = ("training", "monitoring")


def compile_package(out: Path, cluster: Cluster, params_json: str, pipeline: str = "training") -> None:
    """Write the compiled pipeline of that name at `out`, whole or not at all; equal arguments give equal bytes."""
    from kfp import compiler

    if out.suffix not in (".yaml", ".yml"):
        raise InputError(where="--out", expected="a name ending in .yaml", found=str(out), fix="Rename it.")
    if cluster.accelerators and not cluster.accelerator:
        raise InputError(
            where="--accelerator",
            expected=f"which resource {cluster.accelerators} of are asked for",
            found="nothing",
            fix="Name it, e.g. nvidia.com/gpu.",
        )
    if cluster.nodes > 1:
        _check_machines(cluster, pipeline)
    out.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(dir=out.parent, prefix=f".{out.stem}.partial.", suffix=".yaml")
    os.close(descriptor)
    try:
        compiler.Compiler().compile(build(pipeline, cluster, params_json), partial)
        Path(partial).chmod(0o644)
        os.replace(partial, out)
    finally:
        Path(partial).unlink(missing_ok=True)


def _check_machines(cluster: Cluster, pipeline: str) -> None:
    """Training on several machines needs a claim that they share, and a pipeline that trains one model."""
    if not cluster.work_claim:
        raise InputError(
            where="--nodes",
            expected="--work-claim with it: machines share data and checkpoints on a ReadWriteMany claim",
            found="none",
            fix="Name the claim that the TrainingRuntime mounts.",
        )
    if pipeline not in TRAINS_ONE_MODEL:
        raise InputError(
            where="--nodes",
            expected=f"one of the pipelines {', '.join(TRAINS_ONE_MODEL)}",
            found=pipeline,
            fix="Leave --nodes out: trials of experiments run on one machine each.",
        )
