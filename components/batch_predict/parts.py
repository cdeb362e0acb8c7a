"""A long prediction in parts: each a file of its own, written whole, by one process or shared out over several."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from components.background import ForkedItems, available_cores, can_fork
from components.batch_predict.packaged import PackagedModel
from components.progress import track


@dataclass(frozen=True)
class Part:
    """What is predicted together, and the Parquet file it comes to: there whole, or not yet."""

    file: Path
    rows: Sequence[Any]


def parts_of(rows: Sequence[Any], folder: Path, size: int) -> list[Part]:
    """`rows` in order, `size` to a part; the last may have fewer."""
    return [
        Part(folder / f"part-{start:08d}.parquet", rows[start : start + size]) for start in range(0, len(rows), size)
    ]


def write_parts(
    parts: Sequence[Part],
    *,
    open_model: Callable[[int], PackagedModel],
    table_of: Callable[[PackagedModel, Sequence[Any]], Any],
    processes: int,
    unit: str,
) -> None:
    """Write each part that is not there yet: `table_of(model, rows)` as Parquet.

    With several processes each opens the model for itself, with its share of the cores. `open_model` takes a number
    of CPU threads, 0 = all cores.
    """
    missing = [part for part in parts if not part.file.exists()]
    processes = min(processes, len(missing)) if can_fork() else 1
    threads = max(1, available_cores() // processes) if processes > 1 else 0

    def write(share: Sequence[Part]) -> Iterator[int]:
        model = open_model(threads)
        for part in share:
            write_part(part.file, table_of(model, part.rows))
            yield len(part.rows)

    with track(sum(len(part.rows) for part in parts), "predict", unit) as advance, ExitStack() as stack:
        advance(sum(len(part.rows) for part in parts) - sum(len(part.rows) for part in missing))
        if not missing:
            return
        if processes < 2:
            workers = [write(missing)]
        else:
            shares = [missing[first::processes] for first in range(processes)]
            workers = [iter(stack.enter_context(ForkedItems(partial(write, share)))) for share in shares]
        while workers:
            # One part of each in turn: they take about the same time.
            for worker in list(workers):
                count = next(worker, None)
                if count is None:
                    workers.remove(worker)
                else:
                    advance(count)


def write_part(file: Path, table: Any) -> None:
    """Write a table; the file appears whole."""
    import pyarrow.parquet as pq

    partial_file = file.with_name(f".{file.name}.{os.getpid()}")
    pq.write_table(table, partial_file)
    os.replace(partial_file, file)


def join_parts(files: Sequence[Path], out: Path) -> None:
    """Write the rows of all files, in order, to `out`, which appears whole."""
    import pyarrow.parquet as pq

    partial_file = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with pq.ParquetWriter(partial_file, pq.read_schema(files[0])) as writer:
            for file in files:
                writer.write_table(pq.read_table(file))
        os.replace(partial_file, out)
    finally:
        partial_file.unlink(missing_ok=True)
