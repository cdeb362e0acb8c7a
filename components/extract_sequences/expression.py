"""Transcripts × samples TPM, streamed into means per tissue: memory does not grow with rows.

GCT 1.2 (`#1.2`, counts, header), or the same table without its first two lines, as GTEx v7 and v10 have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.extract_sequences.samples import SampleTissues, TissueColumns, tissue_columns
from components.extract_sequences.streams import read_blocks
from model.errors import InputError

_ID_COLUMNS = (("transcript_id", "gene_id"), ("Name", "Description"), ("transcript_id",), ("Name",), ("target_id",))
_TAB_TO_LINE = bytes.maketrans(b"\t", b"\n")
_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class Layout:
    """What stands before the rows: sample names, columns of ids before them, rows as announced (None if not)."""

    samples: list[str]
    id_columns: int
    announced_rows: int | None
    header_lines: int


@dataclass(frozen=True)
class Expression:
    """R transcripts by T tissues.

    `mean_tpm`: float64 (R, T). `half_means`: float64 (2, R, T), over the samples of even and of odd rank within their
    tissue. `tpm_sums`: float64 (S,), of each sample over all rows. `line`: int64 (R,).
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
    blocks = read_blocks(path, _BLOCK_BYTES)
    layout, rest = _read_header(path, blocks)
    columns = tissue_columns(path, layout.samples, attributes, tissues)
    averaging = _Averaging(columns)
    names: list[str] = []
    parts: list[np.ndarray] = []
    lines: list[np.ndarray] = []
    line = layout.header_lines
    for block in _chain(rest, blocks):
        ids, values, numbers = _parse_block(path, block, line, layout)
        line += block.count(b"\n")
        names.extend(ids)
        lines.append(numbers)
        parts.append(averaging.add(values))
        advance(len(ids))
    _check_rows(path, names, lines, layout)
    sums = np.concatenate(parts)
    mean, halves = averaging.means(sums)
    return Expression(
        path=path,
        transcript_ids=names,
        line=np.concatenate(lines),
        mean_tpm=mean,
        half_means=halves,
        samples=layout.samples,
        tpm_sums=averaging.tpm_sums,
        columns=columns,
    )


class _Averaging:
    """Sums over the samples of each half of each tissue, and over the rows of each sample."""

    def __init__(self, columns: TissueColumns) -> None:
        self._tissues = len(columns.tissues)
        rank = np.zeros(len(columns.tissue_of), dtype=np.int64)
        for tissue in range(self._tissues):
            mine = columns.tissue_of == tissue
            rank[mine] = np.arange(mine.sum())
        group = np.where(columns.tissue_of >= 0, 2 * columns.tissue_of + rank % 2, 2 * self._tissues)
        self._order = np.argsort(group, kind="stable")
        self._counts = np.bincount(group, minlength=2 * self._tissues + 1)[: 2 * self._tissues]
        self._present = np.flatnonzero(self._counts)
        self._starts = np.searchsorted(group[self._order], self._present)
        self._end = int(self._counts.sum())
        self.tpm_sums = np.zeros(len(columns.tissue_of))

    def add(self, values: np.ndarray) -> np.ndarray:
        """Sums (rows, 2 × tissues) of TPM (rows, samples)."""
        self.tpm_sums += values.sum(axis=0)
        sums = np.zeros((len(values), 2 * self._tissues))
        for row, row_values in enumerate(values):
            sums[row, self._present] = np.add.reduceat(row_values[self._order[: self._end]], self._starts)
        return sums

    def means(self, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means (R, T) and half means (2, R, T; NaN where a half has no sample) of all sums (R, 2 × tissues)."""
        sums = sums.reshape(len(sums), self._tissues, 2)
        counts = self._counts.reshape(self._tissues, 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            halves = np.moveaxis(sums / counts, 2, 0)
        return sums.sum(axis=2) / counts.sum(axis=1), halves


def _read_header(path: Path, blocks: Iterator[bytes]) -> tuple[Layout, bytes]:
    """The layout, and what of the block that holds the header follows it."""
    block = next(blocks)
    announced: tuple[int, int] | None = None
    at = line = 0
    if block.startswith(b"#"):
        version, at = _line(block, 0)
        if version.strip() != "#1.2":
            raise _error(path, 1, "#1.2, the version of GCT that is read", repr(version[:20]))
        text, at = _line(block, at)
        counts = text.split("\t")
        if len(counts) < 2 or not all(item.strip().isdigit() for item in counts[:2]):
            raise _error(path, 2, "numbers of rows and of samples", repr(text[:40]))
        announced = int(counts[0]), int(counts[1])
        line = 2
    header, at = _line(block, at)
    names = header.split("\t")
    id_columns = next((len(ids) for ids in _ID_COLUMNS if tuple(names[: len(ids)]) == ids), 0)
    if not id_columns or len(names) == id_columns:
        raise _error(path, line + 1, "a header transcript_id, gene_id, samples …", repr(header[:60]))
    samples = names[id_columns:]
    if announced and announced[1] != len(samples):
        raise _error(path, line + 1, f"{announced[1]:,} samples, as line 2 says", f"{len(samples):,}")
    if len(set(samples)) < len(samples):
        twice = next(name for name in samples if samples.count(name) > 1)
        raise _error(path, line + 1, "each sample once", f"{twice!r} again")
    return Layout(samples, id_columns, announced[0] if announced else None, line + 1), block[at:]


def _line(block: bytes, at: int) -> tuple[str, int]:
    end = block.find(b"\n", at)
    end = len(block) if end < 0 else end
    return block[at:end].decode("utf-8", "replace").rstrip("\r"), end + 1


def _chain(first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from blocks


def _parse_block(
    path: Path, block: bytes, lines_before: int, layout: Layout
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, TPM float64 (rows, samples) and line numbers of a block of whole lines."""
    ids: list[str] = []
    sections: list[bytes] = []
    numbers: list[int] = []
    for number, line in enumerate(block[:-1].split(b"\n"), start=lines_before + 1):
        line = line.removesuffix(b"\r")
        if not line:
            continue
        fields = line.split(b"\t", layout.id_columns)
        # One count per row, so that a short row cannot hide behind a long one.
        if len(fields) <= layout.id_columns or fields[-1].count(b"\t") + 1 != len(layout.samples):
            found = line.count(b"\t") + 1
            raise _error(path, number, f"{layout.id_columns + len(layout.samples):,} columns", f"{found:,}")
        ids.append(fields[0].decode("utf-8", "replace"))
        sections.append(fields[-1])
        numbers.append(number)
    values = _numbers(path, sections, numbers)
    return ids, values.reshape(len(ids), len(layout.samples)), np.array(numbers, dtype=np.int64)


def _numbers(path: Path, sections: list[bytes], lines: list[int]) -> np.ndarray:
    """All values of tab-separated sections, float64; one that is no TPM raises `InputError` with its line."""
    import pyarrow as pa
    from pyarrow import csv

    if not sections:
        return np.empty(0)
    text = b"\n".join(sections).translate(_TAB_TO_LINE)
    convert = csv.ConvertOptions(column_types={"tpm": pa.float64()}, null_values=[], strings_can_be_null=False)
    read = csv.ReadOptions(column_names=["tpm"], block_size=len(text) + 1, use_threads=False)
    parse = csv.ParseOptions(quote_char=False, ignore_empty_lines=False)
    try:
        table = csv.read_csv(pa.BufferReader(text), read_options=read, parse_options=parse, convert_options=convert)
        values = table["tpm"].to_numpy()
    except pa.ArrowInvalid:
        raise _bad_value(path, sections, lines) from None
    if not (values.min() >= 0 and values.max() < np.inf):
        raise _bad_value(path, sections, lines)
    return values


def _bad_value(path: Path, sections: list[bytes], lines: list[int]) -> InputError:
    for section, line in zip(sections, lines, strict=True):
        for field in section.decode("utf-8", "replace").split("\t"):
            try:
                good = 0 <= float(field) < float("inf")
            except ValueError:
                good = False
            if not good:
                return _error(path, line, "TPM, a number not below 0", repr(field))
    return _error(path, lines[0], "TPM, numbers not below 0", "another content")


def _check_rows(path: Path, names: list[str], lines: list[np.ndarray], layout: Layout) -> None:
    if layout.announced_rows is not None and layout.announced_rows != len(names):
        raise _error(path, 2, f"{layout.announced_rows:,} rows, as this line says", f"{len(names):,}")
    if not names:
        raise _error(path, layout.header_lines, "rows of transcripts", "none")
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if name in seen:
            line = np.concatenate(lines)
            raise _error(
                path,
                int(line[index]),
                "each transcript once",
                f"duplicated {name!r}, already on line {line[seen[name]]:,}",
            )
        seen[name] = index


def _error(path: Path, line: int, expected: str, found: str) -> InputError:
    return InputError(
        where=f"{path}, line {line:,}",
        expected=expected,
        found=found,
        fix="Correct the expression table or fetch it again.",
    )
