"""One run at a time in a folder of experiments."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from model.errors import InputError


@contextlib.contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Hold the folder; raises `InputError` where another run holds it. A killed run's hold ends with it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(
                where=str(folder),
                expected="no other run of experiments in this folder",
                found=f"one at work (process {file.read().strip() or 'unknown'})",
                fix="Wait for its end, or choose another --out.",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
