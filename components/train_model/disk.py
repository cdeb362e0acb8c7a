"""A full disk, said so that a person can mend it, and nothing half-written left on it."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from model.errors import InputError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def whole_or_not(staging: Path, what: str, size: int) -> Iterator[None]:
    """Leave nothing of a folder that could not be written; raises `InputError` where `what`, of `size`, has no room."""
    shutil.rmtree(staging, ignore_errors=True)
    try:
        yield
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if is_full(error):
            raise no_room(staging.parent, f"{size:,} bytes for {what}", error) from None
        raise


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk or a quota is full; safetensors tells the system's number in words only."""
    if isinstance(error, SafetensorError):
        told = re.search(r"\(os error (\d+)\)", str(error))
        return told is not None and int(told[1]) in _NO_SPACE
    return isinstance(error, OSError) and error.errno in _NO_SPACE


def no_room(folder: Path, wanted: str, error: BaseException) -> InputError:
    """What to do about a full disk."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return InputError(
        where=str(folder),
        expected=wanted,
        found=f"{shutil.disk_usage(there).free:,} bytes free ({error})",
        fix="Free some, or lower runtime.keep_checkpoints; the same command goes on from the newest checkpoint.",
    )
