"""The training step on several machines: a TrainJob does it, this process sees to it that it is one step like others.

The pod that runs this has mounted the claim that the machines mount, at the same place. On it, below `work`::

    train_on_machines/<digest of inputs and parameters>/transcripts   a copy of the input
                                                       /params.json   what every machine reads
                                                       /work          their checkpoints
                                                       /model         what they write; copied to `out`, then removed

How many machines there are and what they run comes from environment variables, which the pipeline sets: like the number
of GPUs of a pod it is no parameter, and decides nothing of the result but rounding.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from components.artifacts import digest_of, open_artifact, staged
from components.params import Params
from components.train_model.kubernetes_api import TrainerApi, own_namespace
from components.train_model.step import KIND
from components.train_model.trainjob import CLAIM_MOUNT, TrainJobRequest
from components.train_model.trainjob_client import run_train_job
from components.train_model.weight_files import weight_files
from components.work_folders import release, work_folder
from model.errors import InputError

JOB_NAME = "isoformer"
# Set on the step's pod; see `request_of`.
VARIABLES = {
    "nodes": "ISOFORMER_NODES",
    "processes_per_node": "ISOFORMER_PROCESSES_PER_NODE",
    "image": "ISOFORMER_TRAIN_IMAGE",
    "claim": "ISOFORMER_WORK_CLAIM",
    "accelerator": "ISOFORMER_ACCELERATOR",
    "runtime": "ISOFORMER_TRAINING_RUNTIME",
    "cpu": "ISOFORMER_MACHINE_CPU",
    "memory": "ISOFORMER_MACHINE_MEMORY",
}


def run(inputs: Mapping[str, Path], params: Params, out: Path, work: Path) -> None:
    """Train as `components.train_model.step.run` does, on the machines that the environment names."""
    request = request_of(os.environ, own_namespace())
    train(inputs, params, out, work, request, TrainerApi.connect(request.namespace))


def request_of(environment: Mapping[str, str], namespace: str) -> TrainJobRequest:
    """The job that the variables of `VARIABLES` describe; raises `InputError` naming one that is missing or wrong.

    Accelerator and runtime may be empty: machines without, and a runtime that the job brings itself.
    """
    told = {name: environment.get(variable, "") for name, variable in VARIABLES.items()}
    for name in ("nodes", "processes_per_node", "image", "claim", "cpu", "memory"):
        number = name in ("nodes", "processes_per_node")
        if not (told[name].isdigit() if number else told[name]):
            raise InputError(
                where=VARIABLES[name],
                expected="a number" if number else "a name",
                found=repr(told[name]),
                fix="Compile the pipeline with --nodes, which sets it.",
            )
    return TrainJobRequest(
        name=JOB_NAME,
        namespace=namespace,
        image=told["image"],
        claim=told["claim"],
        nodes=int(told["nodes"]),
        processes_per_node=int(told["processes_per_node"]),
        accelerator=told["accelerator"],
        runtime=told["runtime"] or None,
        cpu=told["cpu"],
        memory=told["memory"],
    )


def train(
    inputs: Mapping[str, Path],
    params: Params,
    out: Path,
    work: Path,
    request: TrainJobRequest,
    api: TrainerApi,
    *,
    mount: Path = Path(CLAIM_MOUNT),
    say: Callable[[str], None] | None = None,
) -> None:
    """Train as `components.train_model.step.run` does, on the machines of `request`.

    `mount` is where this process sees the claim; `request` says image, machines and how the job's name begins, and gets
    its paths and parameters here. Raises what `run_train_job` does, and `InputError` where a path is not on the claim.
    """
    transcripts = open_artifact(inputs["transcripts"], "transcripts")
    weights = weight_files(params.data.weights)
    for what, path in {"work": work, **weights}.items():
        _on_claim(what, path, mount)
    sources = {"transcripts": transcripts.path, **weights}
    config = params.config("extract", "model", "train")
    folder = work_folder(work, "train_on_machines", sources, config, exclusive=True)
    if not (folder / "model").exists():
        _copy(transcripts.path, folder / "transcripts", transcripts.digest)
        (folder / "params.json").write_text(params.to_json(), encoding="utf-8")
        run_train_job(
            replace(
                request,
                # Another try of this work finds its job; other work never does.
                name=f"{request.name}-{folder.name}",
                transcripts=_in_pod(folder / "transcripts", mount),
                out=_in_pod(folder / "model", mount),
                work=_in_pod(folder / "work", mount),
                params=_in_pod(folder / "params.json", mount),
            ),
            api,
            say,
        )
    _copy(folder / "model", out, open_artifact(folder / "model", KIND).digest)
    release(folder)


def _on_claim(what: str, path: Path, mount: Path) -> None:
    if not path.resolve().is_relative_to(mount.resolve()):
        raise InputError(
            where=what, expected=f"a path on the claim, below {mount}", found=str(path), fix="Put it there."
        )


def _in_pod(path: Path, mount: Path) -> str:
    return str(Path(CLAIM_MOUNT) / path.resolve().relative_to(mount.resolve()))


def _copy(source: Path, target: Path, digest: str) -> None:
    """Copy an artifact whole or not at all; one of this digest that is there is enough."""
    if target.is_dir() and any(target.iterdir()):
        if digest_of(target) == digest:
            return
        raise InputError(
            where=str(target), expected="an empty or absent folder", found="another artifact", fix="Delete it."
        )
    with staged(target) as staging:
        for item in source.iterdir():
            copy = shutil.copytree if item.is_dir() else shutil.copy2
            copy(item, staging / item.name)
