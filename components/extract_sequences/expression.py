"""Transcripts × samples TPM, streamed into means per tissue: of a row only its sums are kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.allocation import keep_freed_memory
from components.extract_sequences.expression_table import Rows, Table, open_table, table_error
from components.extract_sequences.samples import SampleTissues, TissueColumns, tissue_columns

# Sample ids of fabricated tables begin so, where those of GTEx begin with GTEX-.
SIMULATED_PREFIX = "SYNTX-"
_THREADS = 2


@dataclass(frozen=True)
class Expression:
    """R transcripts by T tissues.

    `mean_tpm`: float64 (R, T). `half_means`: float64 (2, R, T), over the samples of even and of odd rank within their
    tissue, NaN where there is none. `tpm_sums`: float64 (S,), of each sample over all rows. `line`: int64 (R,).
    """

    path: Path
    transcript_ids: list[str]
    line: np.ndarray
    mean_tpm: np.ndarray
    half_means: np.ndarray
    samples: list[str]
    tpm_sums: np.ndarray
    columns: TissueColumns

    @property
    def tissues(self) -> tuple[str, ...]:
        """Names, in the order of the labels."""
        return self.columns.tissues

    @property
    def simulated(self) -> bool:
        """Whether the samples are named as fabricated ones are."""
        return all(name.startswith(SIMULATED_PREFIX) for name in self.samples)


@dataclass(frozen=True)
class _Part:
    """What is kept of a block of rows: `group_sums` (rows, 2 × tissues), `sample_sums` (samples,)."""

    ids: list[str]
    line: np.ndarray
    group_sums: np.ndarray
    sample_sums: np.ndarray


def read_expression(
    path: Path,
    attributes: SampleTissues,
    tissues: tuple[str, ...] = (),
    advance: Callable[[int], None] = lambda rows: None,
) -> Expression:
    """Average TPM over the samples of each tissue; `advance` is told of rows read.

    Raises `InputError` naming file, line and value for TPM that is no number, negative or not finite, rows whose width
    is not the header's, a count that is not the announced one, a transcript twice, and a sample without tissue.
    """
    keep_freed_memory()
    table = open_table(path)
    columns = tissue_columns(path, table.samples, attributes, tissues)
    averaging = _Averaging(columns)
    names: list[str] = []
    lines: list[np.ndarray] = []
    group_sums: list[np.ndarray] = []
    tpm_sums = np.zeros(len(table.samples))
    for part in _parts(table, averaging):
        names.extend(part.ids)
        lines.append(part.line)
        group_sums.append(part.group_sums)
        tpm_sums += part.sample_sums
        advance(len(part.ids))
    line = np.concatenate(lines) if lines else np.empty(0, dtype=np.int64)
    _check_rows(table, names, line)
    mean, halves = averaging.means(np.concatenate(group_sums))
    return Expression(
        path=path,
        transcript_ids=names,
        line=line,
        mean_tpm=mean,
        half_means=halves,
        samples=table.samples,
        tpm_sums=tpm_sums,
        columns=columns,
    )


def _parts(table: Table, averaging: _Averaging) -> Iterator[_Part]:
    """Blocks averaged in threads, a few at a time, in order: reading, parsing and summing let the interpreter go."""

    def average(block: bytes, lines_before: int) -> _Part:
        rows = table.parse(block, lines_before)
        sample_sums = np.bincount(rows.sample, rows.tpm, minlength=len(table.samples))
        return _Part(rows.ids, rows.line, averaging.sums(rows), sample_sums)

    waiting: deque[Future[_Part]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for block, lines_before in table.blocks():
                waiting.append(pool.submit(average, block, lines_before))
                if len(waiting) > _THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class _Averaging:
    """Sums over the samples of each half of each tissue."""

    def __init__(self, columns: TissueColumns) -> None:
        self._tissues = len(columns.tissues)
        rank = np.zeros(len(columns.tissue_of), dtype=np.int64)
        for tissue in range(self._tissues):
            mine = columns.tissue_of == tissue
            rank[mine] = np.arange(mine.sum())
        # Samples of tissues that are not wanted come last, in a group that is not kept.
        self._group = np.where(columns.tissue_of >= 0, 2 * columns.tissue_of + rank % 2, 2 * self._tissues)
        self._counts = np.bincount(self._group, minlength=2 * self._tissues + 1)[: 2 * self._tissues]

    def sums(self, rows: Rows) -> np.ndarray:
        """Sums (rows, 2 × tissues) of TPM."""
        groups = 2 * self._tissues + 1
        sums = np.bincount(rows.row * groups + self._group[rows.sample], rows.tpm, minlength=len(rows.ids) * groups)
        return sums.reshape(len(rows.ids), groups)[:, :-1]

    def means(self, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means (R, T) and half means (2, R, T) of all sums (R, 2 × tissues)."""
        sums = sums.reshape(len(sums), self._tissues, 2)
        counts = self._counts.reshape(self._tissues, 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            halves = np.moveaxis(sums / counts, 2, 0)
        return sums.sum(axis=2) / counts.sum(axis=1), halves


def _check_rows(table: Table, names: list[str], line: np.ndarray) -> None:
    if table.announced_rows not in (None, len(names)):
        raise table_error(table.path, 2, f"{table.announced_rows:,} rows, as this line says", f"{len(names):,}")
    if not names:
        raise table_error(table.path, table.header_line, "rows of transcripts", "none")
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        before = seen.setdefault(name, index)
        if before != index:
            found = f"duplicated {name!r}, already on line {line[before]:,}"
            raise table_error(table.path, int(line[index]), "each transcript once", found)
