"""Where a step leaves what a later try of the same work can use: a folder by the digest of the work, and whose it is.

<work>/<step>/<key>      checkpoints and parts; .lock is held by the process that works here, and by its children
<work>/<step>/<key>-2    of a second process that does the same work at the same time
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import platform
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.artifacts import config_digest, digest_of

KEY_LENGTH = 16  # of the digest in a work folder's name
LOCK = ".lock"
# So long may the children of a killed step take to save their state and end: `harness.GRACE_S`, and to be killed.
ORPHANS_S = 330.0
# Open files by which this process holds work folders; closing one, as the system does at its end, lets go.
_locks: dict[Path, int] = {}


def work_folder(
    root: Path, step: str, inputs: Mapping[str, Path], config: Mapping[str, Any], *, exclusive: bool = False
) -> Path:
    """The folder, made if need be, where a step may leave what a later try of the same work can use.

    Keyed by the digests of inputs and configuration, so that other work never finds it. `exclusive`: no other process
    that asks for it so gets the same folder while this one lives; where two do the same work at once, each has its own.
    """
    key = config_digest({"inputs": {name: digest_of(path) for name, path in inputs.items()}, "config": dict(config)})
    first = (root / step / key[:KEY_LENGTH]).absolute()
    if not exclusive:
        first.mkdir(parents=True, exist_ok=True)
        return first
    # What an earlier try left comes first, whichever of several it was.
    tries = sorted(first.parent.glob(f"{first.name}*")) if first.parent.is_dir() else []
    fresh = (first.with_name(f"{first.name}-{number}" if number > 1 else first.name) for number in itertools.count(1))
    folder = next(folder for folder in itertools.chain(tries, fresh) if _own(folder))
    if folder != first and first.is_dir():
        print(f"note: another process does the same work in {first}; this one works in {folder}", file=sys.stderr)
    return folder


def release(folder: Path) -> None:
    """Remove a work folder that is no longer needed, and let go of it; that something of it stays is no error.

    Renamed first: nobody finds it half removed. Closed before it is removed: on a network file system an open file
    cannot be.
    """
    gone = folder.with_name(f".{folder.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        folder.rename(gone)
    descriptor = _locks.pop(folder.absolute(), None)
    if descriptor is not None:
        os.close(descriptor)
    shutil.rmtree(gone, ignore_errors=True)


def lock_of(folder: Path) -> int | None:
    """The open file by which this process holds a work folder; a child that inherits it holds the folder too."""
    return _locks.get(folder.absolute())


def _own(folder: Path) -> bool:
    """Take a folder for the life of this process; False where another process has it."""
    end = time.monotonic() + ORPHANS_S
    while True:
        held = _locks.get(folder)
        if held is not None and _is_open(held, folder / LOCK):
            return True
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            continue  # its owner removed it between the two calls
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            orphans = _owner_is_dead(descriptor)
            os.close(descriptor)
            if not orphans or time.monotonic() > end:
                return False
            # What its owner started still saves its state: this try is to go on from there.
            time.sleep(0.2)
            continue
        except OSError:
            pass  # a file system without locks: as if nobody else were there
        if not _is_open(descriptor, folder / LOCK):
            os.close(descriptor)
            continue
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{platform.node()} {os.getpid()}".encode(), 0)
        if held is not None:
            os.close(held)
        _locks[folder] = descriptor
        return True


def _owner_is_dead(descriptor: int) -> bool:
    """Whether the process that took a lock is gone, so that only its children hold it; False where nobody can tell."""
    host, _, process = os.pread(descriptor, 1_000, 0).decode("utf-8", "replace").rpartition(" ")
    if host != platform.node() or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _is_open(descriptor: int, path: Path) -> bool:
    """Whether the file at `path` is the one that was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
