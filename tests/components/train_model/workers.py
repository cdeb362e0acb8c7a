"""Training processes for tests: the real worker, alone or under torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from components.params import Params
from components.train_model.launch import launch_command
from components.train_model.spec import Spec

QUIET = {"rna": {"embedding_dropout": 0.0}, "protein": {"embedding_dropout": 0.0}}


def changed(params: Params, **sections: dict[str, object]) -> Params:
    """The parameters with some values of some sections replaced, checked anew."""
    data = params.model_dump(mode="json")
    for name, values in sections.items():
        data[name] |= values
    return Params.model_validate(data)


def specify(folder: Path, transcripts: Path, params: Params) -> Path:
    """Write what workers in `folder` are told."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = folder / "spec-0.json"
    Spec(payload=transcripts / "payload", params=params, work=folder, inputs={"transcripts": "data"}).write(spec)
    return spec


def start(folder: Path, transcripts: Path, params: Params, **environment: str) -> subprocess.Popen[str]:
    """Start the workers that `params` ask for in `folder`, one thread each: the tests share their cores."""
    params = changed(params, runtime={"threads": params.runtime.processes})
    spec = specify(folder, transcripts, params)
    return subprocess.Popen(
        launch_command(spec, params.runtime),
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "GOMP_SPINCOUNT": "1000",
            "PYTHONSAFEPATH": "1",
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(folder: Path, transcripts: Path, params: Params, **environment: str) -> str:
    """Run the workers to their end; returns what they said."""
    with start(folder, transcripts, params, **environment) as process:
        output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output[-3000:]
    return output


def state(folder: Path, name: str, step: int | None = None) -> dict[str, torch.Tensor]:
    """Tensors of a checkpoint, the newest if no step is named."""
    paths = sorted((folder / "checkpoints").glob("step-*"))
    chosen = paths[-1] if step is None else folder / "checkpoints" / f"step-{step:08d}"
    return load_file(chosen / f"{name}.safetensors")


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a snippet in a process of its own."""
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
