"""Wall time, processor time and peak memory of a command with all its processes."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_SAMPLE_S = 0.05


@dataclass(frozen=True)
class Measured:
    """`peak_mb`: the largest sum of resident memory over the command's processes; pages they share count for each."""

    wall_s: float
    cpu_s: float
    peak_mb: float

    def __str__(self) -> str:
        return f"{self.wall_s:7.2f} s wall  {self.cpu_s:7.2f} s processor  {self.peak_mb:7,.0f} MB"


def measure(command: Sequence[str | Path]) -> Measured:
    """Run a command to its end; what it prints is dropped, a failure raises."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = 0.0

    def sample() -> None:
        nonlocal peak
        while process.returncode is None:
            peak = max(peak, _resident_mb(process.pid))
            time.sleep(_SAMPLE_S)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    _, said = process.communicate()
    wall = time.perf_counter() - started
    sampler.join()
    if process.returncode:
        raise RuntimeError(said.decode(errors="replace")[-2000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(wall, cpu, peak)


def best_in_turn(times: int, *commands: Sequence[str | Path]) -> list[Measured]:
    """The quickest run of each command; they take turns, so that what else the machine does meets all of them."""
    rounds = [[measure(command) for command in commands] for _ in range(times)]
    return [min(runs, key=lambda found: found.wall_s) for runs in zip(*rounds, strict=True)]


def _resident_mb(root: int) -> float:
    """Of a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # After the command's name in brackets: state, parent.
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        children.setdefault(parent, []).append(int(entry.name))
    pages, family = 0, [root]
    while family:
        process = family.pop()
        family += children.get(process, [])
        try:
            pages += int((Path("/proc") / str(process) / "statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            continue
    return pages * _PAGE_BYTES / 1e6
