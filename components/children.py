"""Processes that end with the run that started them: nothing goes on computing after a run was stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

# The process whose end is to reach a step as SIGTERM; set by a local run for its steps.
OWNER_VARIABLE = "ISOFORMER_OWNER"
_LOOK_EVERY_S = 0.5
# kfp starts each step by one of these.
_SHELLS = frozenset({"sh", "bash", "dash", "ash"})


def end_with_owner() -> None:
    """Send this process SIGTERM when the process that `OWNER_VARIABLE` names is gone, however it ended.

    Nothing without that variable: a step in a pod has no owner. The kernel's own signal on a parent's death does not
    serve: a shell of kfp's stands between.
    """
    owner = os.environ.get(OWNER_VARIABLE)
    if owner:
        threading.Thread(target=_watch, args=(int(owner),), daemon=True, name="owner").start()


def _watch(owner: int) -> None:
    while _alive(owner):
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


class StoppedError(Exception):
    """SIGTERM came while no step was running."""


@contextlib.contextmanager
def handing_on_sigterm() -> Iterator[threading.Event]:
    """Hand a SIGTERM that reaches this process on to the steps below it, so that they end in order.

    Yields an event that tells whether one came; between two steps it raises `StoppedError` instead. Only the main
    thread can take signals; from another one this changes nothing.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def hand_on(signal_number: int, frame: FrameType | None) -> None:
        came.set()
        steps = _steps()
        for step in steps:
            with contextlib.suppress(ProcessLookupError):
                os.kill(step, signal.SIGTERM)
        if not steps:
            raise StoppedError

    before = signal.signal(signal.SIGTERM, hand_on)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


def _steps() -> list[int]:
    """The processes of steps below this one. A step passes SIGTERM on by itself; a shell before it would just die."""
    found: list[int] = []
    unseen = _children(os.getpid())
    while unseen:
        process = unseen.pop()
        with contextlib.suppress(OSError):
            if Path(f"/proc/{process}/comm").read_text().strip() in _SHELLS:
                unseen += _children(process)
            else:
                found.append(process)
    return found


def _children(process: int) -> list[int]:
    listings = Path(f"/proc/{process}/task").glob("*/children")
    return [int(word) for listing in listings for word in listing.read_text().split()]
