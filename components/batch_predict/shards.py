"""A long prediction in shards: each a file of its own, written whole, by one process or shared out over several."""

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
class Shard:
    """What is predicted together, and the Parquet file it comes to: there whole, or not yet."""

    file: Path
    rows: Sequence[Any]


def shards_of(rows: Sequence[Any], folder: Path, size: int) -> list[Shard]:
    """`rows` in order, `size` to a shard; the last may have fewer."""
    return [
        Shard(folder / f"part-{start:08d}.parquet", rows[start : start + size]) for start in range(0, len(rows), size)
    ]


def write_shards(
    shards: Sequence[Shard],
    *,
    open_model: Callable[[int], PackagedModel],
    table_of: Callable[[PackagedModel, Sequence[Any]], Any],
    processes: int,
    unit: str,
) -> None:
    """Write each shard that is not there yet: `table_of(model, rows)` as Parquet.

    With several processes each opens the model for itself, with its share of the cores. `open_model` takes a number
    of CPU threads, 0 = all cores.
    """
    missing = [shard for shard in shards if not shard.file.exists()]
    processes = min(processes, len(missing)) if can_fork() else 1
    threads = max(1, available_cores() // processes) if processes > 1 else 0

    def write(share: Sequence[Shard]) -> Iterator[int]:
        model = open_model(threads)
        for shard in share:
            _write(shard.file, table_of(model, shard.rows))
            yield len(shard.rows)

    with track(sum(len(shard.rows) for shard in shards), "predict", unit) as advance, ExitStack() as stack:
        advance(sum(len(shard.rows) for shard in shards) - sum(len(shard.rows) for shard in missing))
        if not missing:
            return
        if processes < 2:
            workers = [write(missing)]
        else:
            shares = [missing[first::processes] for first in range(processes)]
            workers = [iter(stack.enter_context(ForkedItems(partial(write, share)))) for share in shares]
        while workers:
            # One shard of each in turn: they take about the same time.
            for worker in list(workers):
                count = next(worker, None)
                if count is None:
                    workers.remove(worker)
                else:
                    advance(count)


def join_shards(shards: Sequence[Shard], out: Path) -> None:
    """One Parquet file of all shards, in order; it appears whole."""
    import pyarrow.parquet as pq

    partial_file = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with pq.ParquetWriter(partial_file, pq.read_schema(shards[0].file)) as writer:
            for shard in shards:
                writer.write_table(pq.read_table(shard.file))
        os.replace(partial_file, out)
    finally:
        partial_file.unlink(missing_ok=True)


def _write(file: Path, table: Any) -> None:
    import pyarrow.parquet as pq

    partial_file = file.with_name(f".{file.name}.{os.getpid()}")
    pq.write_table(table, partial_file)
    os.replace(partial_file, file)
