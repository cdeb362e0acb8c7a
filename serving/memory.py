"""How much memory this process takes and may take, from the kernel (Linux); elsewhere nothing is known."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CGROUP = Path("/sys/fs/cgroup")
# Limit and use of the container's memory, versions 2 and 1 of control groups.
_CGROUP_FILES = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


def peak_growth_bytes(run: Callable[[], object]) -> int:
    """By how much the resident memory stood higher while `run` ran than before it; 0 where the kernel does not tell."""
    with suppress(OSError):
        # Resets the peak (proc(5)).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _kib("VmRSS")
    run()
    return max(0, _kib("VmHWM") - before) * 1024


def available_bytes(cgroup: Path = _CGROUP) -> int | None:
    """What may still be taken: of the machine, and of the container's limit; None where neither is known."""
    known = []
    with suppress(OSError, AttributeError, TypeError):
        found = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="ascii"))
        known.append(int(found[1]) * 1024)  # type: ignore[index]
    for limit, used in _CGROUP_FILES:
        # "max" is no limit.
        with suppress(OSError, ValueError):
            known.append(int((cgroup / limit).read_text()) - int((cgroup / used).read_text()))
    return max(0, min(known)) if known else None


def _kib(field: str) -> int:
    with suppress(OSError, TypeError):
        return int(re.search(rf"{field}:\s+(\d+)", _STATUS.read_text(encoding="ascii"))[1])  # type: ignore[index]
    return 0
