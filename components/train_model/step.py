"""The training step: starts the training processes, watches them, and makes the model artifact of what they leave."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from components.artifacts import open_artifact, work_folder, write_artifact, write_json
from components.harness import THREADING, StepStoppedError
from components.params import Params
from components.train_model.plot import plot_history
from components.train_model.spec import STOPPED, Spec
from model.errors import InputError

KIND = "model"


def run(inputs: Mapping[str, Path], params: Params, out: Path, work: Path) -> None:
    """Train on `inputs["transcripts"]` and write the model artifact at `out`.

    Checkpoints live below `work`, keyed by data and configuration: a killed or stopped run goes on where it was.
    Raises `InputError` on bad data, `StepStoppedError` after SIGTERM, `RuntimeError` where a training process failed.
    """
    transcripts = open_artifact(inputs["transcripts"], "transcripts")
    config = params.config("extract", "model", "train")
    with write_artifact(out, kind=KIND, inputs=inputs, config=config) as writer:
        folder = work_folder(work, "train_model", inputs, {**config, "processes": params.runtime.processes})
        spec = folder / "spec.json"
        Spec(payload=transcripts.payload.resolve(), params=params, work=folder.resolve()).write(spec)
        if not (folder / "result").is_dir():
            _launch(spec, folder, params.runtime.processes)
        result = folder / "result"
        for name in ("config.json", "model.safetensors", "history.json"):
            shutil.copy2(result / name, writer.payload / name)
        shutil.copy2(transcripts.payload / "dataset.json", writer.payload / "dataset.json")
        write_json(writer.payload / "params.json", config)
        history = json.loads((result / "history.json").read_text(encoding="utf-8"))
        plot_history(history, writer.payload / "loss.png")
        writer.run["throughput"] = json.loads((result / "throughput.json").read_text(encoding="utf-8"))
    # The artifact holds what counts. Kept, the result would be taken for that of a later run with other code.
    shutil.rmtree(folder)


def _launch(spec: Path, folder: Path, processes: int) -> None:
    """Run the workers to their end in processes of their own, so that every door trains in the same surroundings."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "components.train_model.worker", str(spec)]
    environment = {
        **THREADING,
        **os.environ,
        "PYTHONSAFEPATH": "1",
        "OMP_NUM_THREADS": "1",  # the worker sets its own thread count
        # Large buffers freed and mapped anew each step cost half as much again on a CPU.
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
        # Stale keys of a shared store hang restarts after a rank was killed.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    for stale in (*folder.glob("error-*.json"), *folder.glob(STOPPED)):
        stale.unlink()
    with subprocess.Popen(command, env=environment) as process:
        previous = signal.getsignal(signal.SIGTERM)
        if _in_main_thread():
            signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGTERM))
        try:
            status = process.wait()
        except BaseException:
            process.terminate()
            raise
        finally:
            if _in_main_thread():
                signal.signal(signal.SIGTERM, previous)
    errors = sorted(folder.glob("error-*.json"))
    if errors:
        raise InputError(**json.loads(errors[0].read_text(encoding="utf-8")))
    if (folder / STOPPED).exists():
        raise StepStoppedError(f"training was stopped; its state is in {folder}. The same command goes on from there.")
    if status:
        raise RuntimeError(f"a training process ended with status {status}; what it said stands above")


def _in_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()
