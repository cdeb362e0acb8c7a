"""The training step on several machines: a TrainJob does it, this process sees to it that it is one step like others.

The pod that runs this has mounted the claim that the machines mount, at the same place. On it, below `work`::

    train_on_machines/<digest of inputs and parameters>/transcripts   a copy of the input
                                                       /params.json   what every machine reads
                                                       /model         what they write; copied to `out`, then removed
    train_model/…                                                      their checkpoints
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from components.artifacts import digest_of, open_artifact, staged, work_folder
from components.params import Params
from components.train_model.kubernetes_api import TrainerApi
from components.train_model.step import KIND
from components.train_model.trainjob import CLAIM_MOUNT, TrainJobRequest
from components.train_model.trainjob_client import run_train_job
from components.train_model.weight_files import weight_files
from model.errors import InputError


def run(
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
    folder = work_folder(work, "train_on_machines", sources, params.config("extract", "model", "train"))
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
                work=_in_pod(work, mount),
                params=_in_pod(folder / "params.json", mount),
            ),
            api,
            say,
        )
    _copy(folder / "model", out, open_artifact(folder / "model", KIND).digest)
    shutil.rmtree(folder)


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
