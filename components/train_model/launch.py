"""Starts the training processes of this machine, and tells what became of them."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from components.harness import THREADING, StepStoppedError
from components.train_model.spec import STOPPED
from components.train_sections import RuntimeParams
from components.work_folders import lock_of
from model.errors import InputError

_PR_SET_PDEATHSIG = 1
WORKER = "components.train_model.worker"


def node_rank() -> int:
    """Which of several machines this is, as Kubeflow Trainer says in PET_NODE_RANK; 0 where there is one."""
    return int(os.environ.get("PET_NODE_RANK", "0"))


def from_trainer() -> bool:
    """Whether Kubeflow Trainer started this training, on one machine or more."""
    return "PET_NNODES" in os.environ


def launch(spec: Path, folder: Path, runtime: RuntimeParams) -> None:
    """Run the workers to their end in processes of their own, so that every door trains in the same surroundings.

    Raises `InputError` where a worker refused its input, `StepStoppedError` after SIGTERM, `RuntimeError` where a
    worker failed more often than `max_restarts`.
    """
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
    if node_rank() == 0:
        for stale in (*folder.glob("error-*.json"), *folder.glob(STOPPED)):
            stale.unlink()
    lock = lock_of(folder)
    with subprocess.Popen(
        launch_command(spec, runtime),
        env=environment,
        # While a worker lives, nobody else takes the folder that it writes to.
        pass_fds=[] if lock is None else [lock],
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    ) as process:
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
        raise RuntimeError(
            f"a training process ended with status {status}; what it said stands above. "
            f"The same command goes on from the newest checkpoint in {folder}"
        )


def launch_command(spec: Path, runtime: RuntimeParams) -> list[str]:
    """One process, or torchrun: over the machines that PET_* variables name, or the processes of this one."""
    if not from_trainer() and runtime.processes == 1:
        return [sys.executable, "-m", WORKER, str(spec)]
    # Unless given here, torchrun reads the number of machines and processes, its rank and its master from PET_*.
    own = ["--standalone", "--nproc-per-node", str(runtime.processes)] if not from_trainer() else []
    restarts = ["--max-restarts", str(runtime.max_restarts)]
    return [sys.executable, "-m", "torch.distributed.run", *own, *restarts, "-m", WORKER, str(spec)]


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM should this process be killed: the workers then save their state and end."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
