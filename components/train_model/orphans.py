"""A training process does not outlive what started it; while it lives, no other training starts in its folder.

torchrun passes no open file on to its ranks, so the lock of the work folder does not reach them: each holds one of its
own, shared with its peers, and a new training waits until nobody does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import threading
import time
from pathlib import Path

from components.harness import GRACE_S
from model.errors import InputError

LOCK = ".ranks"
# The process that started the training, for ranks whose parent may be gone before they can look.
LAUNCHER = "ISOFORMER_LAUNCHER"


def hold(folder: Path) -> int:
    """Hold a work folder for the life of this process, together with the other ranks; returns the open file."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks: as if nobody else were there
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def await_ranks(folder: Path, wait_s: float = GRACE_S) -> None:
    """Wait for what a killed training left running in a folder; raises `InputError` where it does not end."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    end, told = time.monotonic() + wait_s, False
    try:
        while not _free(descriptor):
            if not told:
                print(f"note: a killed training still ends in {folder}; waiting for it", file=sys.stderr, flush=True)
                told = True
            if time.monotonic() > end:
                raise InputError(
                    where=str(folder),
                    expected="no process that trains in it",
                    found=f"one of an earlier training, still running after {wait_s:.0f} s",
                    fix=f"End it (fuser {folder / LOCK} names it), or name another --work.",
                )
            time.sleep(0.2)
    finally:
        os.close(descriptor)


def orphaned() -> bool:
    """Whether what started this rank was gone before the rank began; False where nobody can tell."""
    launcher = os.environ.get(LAUNCHER)
    if launcher is None:
        return False
    # Between launcher and rank stands torchrun, where it is used.
    parent = os.getppid()
    grandparent = _parent(parent)
    return grandparent is not None and int(launcher) not in (parent, grandparent)


def end_with_parent(*, grace_s: float = GRACE_S) -> None:
    """From now on, should the parent end: SIGTERM to this process, as which it saves its state; at last SIGKILL."""
    # A thread, not the kernel's signal at a parent's death alone: a rank that hangs in a collective never handles it.
    threading.Thread(target=_follow, args=(os.getppid(), grace_s), name="orphans", daemon=True).start()


def _follow(parent: int, grace_s: float) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_s)
    os.kill(os.getpid(), signal.SIGKILL)


def _free(descriptor: int) -> bool:
    """Whether no rank holds the lock; it is let go of at once, for the ranks to come."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def _parent(process: int) -> int | None:
    """The parent of a process, None where the system does not say."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None
