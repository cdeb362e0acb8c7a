"""Progress of long work, with rate and estimate, for people at a terminal and for logs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

LOG_INTERVAL_S = 5.0


class Advance(Protocol):
    """Says that `n` more are done, and what else is worth showing."""

    def __call__(self, n: int = 1, note: str = "", /) -> None:
        """Move on."""


@contextmanager
def track(total: int | None, description: str, unit: str, *, done: int = 0) -> Iterator[Advance]:
    """Yield `advance(n, note)`; a bar on a terminal, else a line every five seconds, both on standard error.

    `total` is the count of `unit` to be done, None where it is not known beforehand; `done` of them were done before,
    which says nothing about the rate. A note is shown beside the rate.
    """
    if sys.stderr.isatty():
        with _bar(total, description, unit, done) as advance:
            yield advance
    else:
        yield _log_lines(total, description, unit, done)


@contextmanager
def _bar(total: int | None, description: str, unit: str, done: int) -> Iterator[Advance]:
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
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total, completed=done, note="")

        def advance(n: int = 1, note: str = "", /) -> None:
            progress.update(task, advance=n, note=note)

        yield advance


def _log_lines(total: int | None, description: str, unit: str, before: int) -> Advance:
    started = last = time.monotonic()
    done = before

    def advance(n: int = 1, note: str = "", /) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last < LOG_INTERVAL_S:
            return
        last = now
        rate = (done - before) / (now - started)
        of, left = (f" of {total:,}", f", {(total - done) / rate:.0f} s left") if total else ("", "")
        print(
            f"{description}: {done:,}{of} {unit} ({rate:,.1f}/s{left}){', ' if note else ''}{note}",
            file=sys.stderr,
            flush=True,
        )

    return advance
