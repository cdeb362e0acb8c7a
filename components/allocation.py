"""Keeping freed memory for the next block, where blocks of text are worked on one after another."""

from __future__ import annotations

import ctypes
from functools import cache

# Numbers of glibc's mallopt (malloc.h), and the largest threshold for mappings that it accepts.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_THRESHOLD_BYTES = 32 << 20
_KEPT_BYTES = 128 << 20


@cache
def keep_freed_memory() -> None:
    """Let this process, and those that it forks, keep what it frees, up to 128 MB per thread, for what comes next.

    By default glibc gives arrays of a megabyte back to the system as soon as they are freed and gets zeroed pages for
    the next ones, which costs several times what is computed with them. Nothing happens with another C library.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
