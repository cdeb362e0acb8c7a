"""Progress of long work, with rate and estimate, for people at a terminal and for logs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOG_INTERVAL_S = 5.0


@contextmanager
def track(total: int | None, description: str, unit: str) -> Iterator[Callable[[int], None]]:
    """Yield `advance(n)`; a bar on a terminal, else a line every five seconds, both on standard error.

    `total` is the count of `unit` to be done, None where it is not known beforehand.
    """
    if sys.stderr.isatty():
        with _bar(total, description, unit) as advance:
            yield advance
    else:
        yield _log_lines(total, description, unit)


@contextmanager
def _bar(total: int | None, description: str, unit: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total)

        def advance(n: int = 1) -> None:
            progress.advance(task, n)

        yield advance


def _log_lines(total: int | None, description: str, unit: str) -> Callable[[int], None]:
    started = last = time.monotonic()
    done = 0

    def advance(n: int = 1) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last < LOG_INTERVAL_S:
            return
        last = now
        rate = done / (now - started)
        of, left = (f" of {total:,}", f", {(total - done) / rate:.0f} s left") if total else ("", "")
        print(f"{description}: {done:,}{of} {unit} ({rate:,.1f}/s{left})", file=sys.stderr, flush=True)

    return advance
