"""Starts the training processes of this machine, and tells what became of them."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.harness import GRACE_S, THREADING, StepStoppedError
from components.train_model.orphans import LAUNCHER, await_ranks
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

    Raises `InputError` where a worker refused its input or one of a killed training does not end, `StepStoppedError`
    after SIGTERM or Ctrl-C, `RuntimeError` where a worker failed more often than `max_restarts`.
    """
    environment = {
        **THREADING,
        # By default torchrun kills ranks 30 s after SIGTERM, which is short for a large checkpoint on a slow disk. Who
        # grants less kills torchrun too; who grants more says so in this variable.
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(GRACE_S),
        **os.environ,
        LAUNCHER: str(os.getpid()),
        "PYTHONSAFEPATH": "1",
        "OMP_NUM_THREADS": "1",  # the worker sets its own thread count
        # Large buffers freed and mapped anew each step cost half as much again on a CPU.
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
        # Stale keys of a shared store hang restarts after a rank was killed.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    if not from_trainer():  # machines of one training share the folder: ranks of another may have begun
        await_ranks(folder)
    if node_rank() == 0:
        for stale in (*folder.glob("error-*.json"), *folder.glob(STOPPED)):
            stale.unlink()
    lock = lock_of(folder)
    with subprocess.Popen(
        launch_command(spec, runtime),
        env=environment,
        # While a worker or torchrun lives, nobody else takes the folder; ranks under torchrun hold it themselves.
        pass_fds=[] if lock is None else [lock],
        # A terminal sends Ctrl-C to a whole group of processes; torchrun must be told once, or it leaves its ranks.
        process_group=0,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    ) as process:
        stop = _Stop(process)
        try:
            with _handled(stop):
                status = process.wait()
        except BaseException:
            process.terminate()
            raise
    errors = sorted(folder.glob("error-*.json"))
    if errors:
        raise InputError(**json.loads(errors[0].read_text(encoding="utf-8")))
    # Stopped before its ranks could listen, torchrun leaves no such file, and has computed nothing.
    if status and (stop.requested or (folder / STOPPED).exists()):
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


class _Stop:
    """Passes a stop on to a process once, as SIGTERM, however often it is asked for; a second Ctrl-C kills."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.requested, self._interrupts, self._process = False, 0, process

    def __call__(self, number: int, *_: Any) -> None:
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            self._process.kill()
            raise KeyboardInterrupt
        if not self.requested:
            self.requested = True
            self._process.send_signal(signal.SIGTERM)


@contextmanager
def _handled(stop: _Stop) -> Iterator[None]:
    """SIGTERM and Ctrl-C are answered by `stop` within the block, where a thread may say so."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT) if main}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM should this process be killed: the workers then save their state and end."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
