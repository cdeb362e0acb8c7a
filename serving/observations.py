"""What was asked and answered, for monitoring: lengths, composition and predictions of each transcript, no sequence.

Off by default. Blocks of rows become Parquet files in one folder; each appears whole, and the oldest go when the folder
holds too much. docs/serving.md describes the columns.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import InputError
from serving.logs import LOGGER

SCHEMA_VERSION = 1
FEATURES = ("rna_nt", "rna_gc", "rna_unknown", "dna_gc", "dna_unknown", "protein_residues")
PATTERN = "observations-*.parquet"
_PROVENANCE = ("version", "model_digest", "dataset_version", "simulated")
# Blocks that may wait for a slow disk; beyond it observations are dropped, never answers.
_MAX_BLOCKS = 4
_log = logging.getLogger(LOGGER)


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """One answered transcript. `features` as `serving.profile.features_of`, `signs` the codes of out_of_distribution,
    `log1p_tpm` float32 (tissues,)."""

    route: str
    modalities: tuple[str, ...]
    features: Mapping[str, float]
    signs: tuple[str, ...]
    log1p_tpm: np.ndarray


class Observations:
    """Collects observations in memory and writes them in blocks, in a thread of its own.

    A block is written once it has `block_rows` rows, at `flush` and at `close`. The folder is kept below `max_bytes` by
    deleting its oldest blocks, whichever server wrote them. `lost` is told how many rows could not be written.
    Raises `InputError` where `folder` cannot be written to.
    """

    def __init__(
        self, folder: Path, *, block_rows: int, max_bytes: int, lost: Callable[[int], None] = lambda rows: None
    ) -> None:
        self.folder = folder
        self._block_rows, self._max_bytes, self._lost = block_rows, max_bytes, lost
        self._rows: list[tuple[float, Observation]] = []
        self._described: tuple[Mapping[str, Any], Sequence[str]] | None = None
        self._blocks: list[Future[None]] = []
        self._number = 0
        self._name = uuid.uuid4().hex[:8]
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="observations")
        try:
            import pyarrow.parquet  # noqa: F401 - fail at start, not at the first block

            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".probe-{self._name}"
            probe.touch()
            probe.unlink()
        except (OSError, ModuleNotFoundError) as error:
            raise InputError(
                where=str(folder),
                expected="a folder that the server may write observations to, and pyarrow",
                found=f"{type(error).__name__}: {error}",
                fix="Mount a writable folder, or leave ISOFORMER_SERVE_OBSERVATIONS_DIR empty.",
            ) from None

    def record(self, about: Mapping[str, Any], tissues: Sequence[str], rows: Sequence[Observation]) -> None:
        """Remember answers of the model that `about` describes, with its `tissues`; never raises, never waits."""
        if self._described is not None and self._described[0]["version"] != about["version"]:
            self.flush()
        self._described = (about, tissues)
        now = time.time()
        self._rows += [(now, row) for row in rows]
        if len(self._rows) >= self._block_rows:
            self.flush()

    def flush(self) -> None:
        """Hand what was collected to the writing thread."""
        rows, self._rows = self._rows, []
        if not rows or self._described is None:
            return
        self._blocks = [block for block in self._blocks if not block.done()]
        if len(self._blocks) >= _MAX_BLOCKS:
            self._lose(len(rows), "the disk is too slow")
            return
        self._number += 1
        # Ordered by name as by time, over restarts too.
        file = self.folder / f"observations-{int(rows[0][0] * 1e3):013d}-{self._name}-{self._number:06d}.parquet"
        self._blocks.append(self._writer.submit(self._write, file, rows, *self._described))

    def close(self) -> None:
        """Write what is left."""
        self.flush()
        self._writer.shutdown(wait=True)

    def _write(
        self, file: Path, rows: Sequence[tuple[float, Observation]], about: Mapping[str, Any], tissues: Sequence[str]
    ) -> None:
        partial = file.with_name(f".{file.name}.partial")
        try:
            _write_block(partial, rows, about, tissues)
            os.replace(partial, file)
            self._forget_oldest()
        except Exception as error:
            # A full disk must not cost an answer.
            partial.unlink(missing_ok=True)
            self._lose(len(rows), f"{type(error).__name__}: {error}")

    def _lose(self, rows: int, reason: str) -> None:
        self._lost(rows)
        _log.warning("observations were not written: %s", reason, extra={"rows": rows})

    def _forget_oldest(self) -> None:
        sizes = []
        for file in sorted(self.folder.glob(PATTERN)):
            # Another server may delete the same file.
            with suppress(FileNotFoundError):
                sizes.append((file, file.stat().st_size))
        excess = sum(size for _, size in sizes) - self._max_bytes
        for file, size in sizes[:-1]:
            if excess <= 0:
                return
            file.unlink(missing_ok=True)
            excess -= size


def _write_block(
    path: Path, rows: Sequence[tuple[float, Observation]], about: Mapping[str, Any], tissues: Sequence[str]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    seen = [row for _, row in rows]
    columns: dict[str, Any] = {
        "time": pa.array([int(moment * 1e3) for moment, _ in rows], pa.timestamp("ms", tz="UTC")),
        "route": pa.array([row.route for row in seen], pa.string()),
        "modalities": pa.array(["+".join(row.modalities) for row in seen], pa.string()),
    }
    for name in FEATURES:
        columns[name] = pa.array([row.features.get(name) for row in seen], pa.float32())
    columns["out_of_distribution"] = pa.array([list(row.signs) for row in seen], pa.list_(pa.string()))
    flat = pa.array(np.stack([row.log1p_tpm for row in seen]).astype(np.float32).reshape(-1))
    columns["predicted"] = pa.FixedSizeListArray.from_arrays(flat, len(tissues))
    facts = {name: about[name] for name in _PROVENANCE}
    metadata = {
        "schema_version": str(SCHEMA_VERSION),
        "unit": "log1p TPM",
        "tissues": json.dumps(list(tissues)),
        "model": json.dumps(facts),
    }
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path, compression="zstd")
