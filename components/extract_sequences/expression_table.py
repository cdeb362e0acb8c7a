"""Tables of transcripts × samples, read block by block: GCT 1.2, tab- or comma-separated text, Parquet."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from components.extract_sequences.digits import WORD_BYTES, decimals
from components.extract_sequences.streams import read_blocks
from model.errors import InputError

# What may stand before the samples; the transcript's id comes first.
ID_COLUMNS = (("transcript_id", "gene_id"), ("Name", "Description"), ("transcript_id",), ("Name",), ("target_id",))
_BLOCK_BYTES = 1 << 20
_PARQUET_ROWS = 256
_LINE_END, _ZERO = b"\n0"
_NUMBER = re.compile(rb"[0-9.eE+-]+")
_MARK = -1


@dataclass(frozen=True)
class Rows:
    """R rows; `line` int64 (R,), where each stands in its file.

    Of TPM only what is not zero, which most is: `tpm` float64 (V,) above 0, its `row` and `sample` int64 (V,), rows
    ascending and samples ascending within them.
    """

    ids: list[str]
    line: np.ndarray
    tpm: np.ndarray
    row: np.ndarray
    sample: np.ndarray

    @staticmethod
    def of_dense(ids: list[str], line: np.ndarray, tpm: np.ndarray) -> Rows:
        """From TPM float64 (R, samples)."""
        row, sample = np.nonzero(tpm)
        return Rows(ids, line, tpm[row, sample], row, sample)


class Table(Protocol):
    """An expression table that is being read; `announced_rows` is what its header says, None if nothing."""

    path: Path
    samples: list[str]
    announced_rows: int | None
    header_line: int

    def blocks(self) -> Iterator[tuple[Any, int]]:
        """Pieces for `parse`, each with the number of lines before it."""

    def parse(self, block: Any, lines_before: int) -> Rows:
        """Rows of a piece; may run in another thread. Raises `InputError` naming line and value."""


def open_table(path: Path) -> Table:
    """Read the header; which kind of table it is, its name and its first line say."""
    return ParquetTable(path) if path.suffix == ".parquet" else TextTable(path)


class TextTable:
    """GCT, or a header and rows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._blocks = read_blocks(path, _BLOCK_BYTES)
        block = next(self._blocks)
        announced_samples = None
        self.announced_rows: int | None = None
        at = self.header_line = 0
        if block.startswith(b"#"):
            self.announced_rows, announced_samples, at = self._preamble(block)
            self.header_line = 2
        header, at = _line(block, at)
        self.header_line += 1
        self._delimiter = b"," if "," in header and "\t" not in header else b"\t"
        names = header.split(self._delimiter.decode())
        self._id_columns = _id_columns(names)
        self.samples = names[self._id_columns :]
        if not self._id_columns or not self.samples:
            found = repr(header[:60])
            raise table_error(path, self.header_line, "a header transcript_id, gene_id, samples …", found)
        if announced_samples not in (None, len(self.samples)):
            expected = f"{announced_samples:,} samples, as line 2 says"
            raise table_error(path, self.header_line, expected, f"{len(self.samples):,}")
        _refuse_twice(path, self.header_line, self.samples)
        self._first = block[at:]

    def _preamble(self, block: bytes) -> tuple[int, int, int]:
        version, at = _line(block, 0)
        if version.strip() != "#1.2":
            raise table_error(self.path, 1, "#1.2, the version of GCT that is read", repr(version[:20]))
        text, at = _line(block, at)
        counts = [item.strip() for item in text.split("\t")]
        if len(counts) < 2 or not all(item.isascii() and item.isdigit() and len(item) < 19 for item in counts[:2]):
            raise table_error(self.path, 2, "numbers of rows and of samples", repr(text[:40]))
        return int(counts[0]), int(counts[1]), at

    def blocks(self) -> Iterator[tuple[bytes, int]]:
        """Blocks of whole lines after the header."""
        before = self.header_line
        for block in itertools.chain([self._first] if self._first else [], self._blocks):
            yield block, before
            before += block.count(b"\n")

    def parse(self, block: bytes, lines_before: int) -> Rows:
        """Rows of a block of whole lines."""
        rows = self.parse_plain(block, lines_before)
        return self.parse_any(block, lines_before) if rows is None else rows

    def parse_plain(self, block: bytes, lines_before: int) -> Rows | None:
        """Rows of a block where each line has its columns and plain numbers, else None."""
        codes = np.frombuffer(block, dtype=np.uint8)
        columns = self._id_columns + len(self.samples)
        is_end = (codes == self._delimiter[0]) | (codes == _LINE_END)
        ends = np.flatnonzero(is_end)
        rows, rest = divmod(len(ends), columns)
        line_ends = ends[columns - 1 :: columns]
        if rest or (codes[line_ends] != _LINE_END).any() or np.count_nonzero(codes == _LINE_END) != rows:
            return None
        # Ends of fields that are more than a single 0.
        is_end[2:] &= (codes[1:-1] != _ZERO) | ~is_end[:-2]
        told = is_end[ends].reshape(rows, columns)
        told[:, : self._id_columns] = False
        field = np.flatnonzero(told)
        end = ends[field]
        tpm = _plain_numbers(block, codes, end, end - ends[field - 1] - 1)
        if tpm is None:
            return None
        starts = [0, *(line_ends[:-1] + 1).tolist()]
        first = ends[::columns].tolist()
        ids = [block[start:end].decode("utf-8", "replace") for start, end in zip(starts, first, strict=True)]
        row, column = np.divmod(field, columns)
        keep = slice(None) if tpm.all() else tpm > 0  # zeros may be written 0.0
        line = np.arange(lines_before + 1, lines_before + 1 + rows)
        return Rows(ids, line, tpm[keep], row[keep], column[keep] - self._id_columns)

    def parse_any(self, block: bytes, lines_before: int) -> Rows:
        """Rows of a block of whole lines, whatever is in them; slower than `parse_plain`, with the same result."""
        ids: list[str] = []
        sections: list[bytes] = []
        numbers: list[int] = []
        delimiter = self._delimiter
        for number, line in enumerate(block[:-1].split(b"\n"), start=lines_before + 1):
            line = line.removesuffix(b"\r")
            if not line:
                continue
            fields = line.split(delimiter, self._id_columns)
            if len(fields) <= self._id_columns:
                raise self._wrong_width(len(fields), number)
            ids.append(fields[0].decode("utf-8", "replace"))
            sections.append(fields[-1])
            numbers.append(number)
        if not ids:
            return Rows.of_dense(ids, np.empty(0, dtype=np.int64), np.empty((0, len(self.samples))))
        tpm = _numbers(sections, delimiter, len(self.samples))
        if tpm is None:
            raise self._first_error(sections, numbers)
        return Rows.of_dense(ids, np.array(numbers, dtype=np.int64), tpm)

    def _first_error(self, sections: list[bytes], lines: list[int]) -> InputError:
        """Which row has not as many values as there are samples, or a value that is no TPM."""
        for section, line in zip(sections, lines, strict=True):
            fields = section.split(self._delimiter)
            if len(fields) != len(self.samples):
                return self._wrong_width(self._id_columns + len(fields), line)
            for field in fields:
                if not _is_tpm(field):
                    found = repr(field.decode("utf-8", "replace"))
                    return table_error(self.path, line, "TPM, a number not below 0", found)
        return table_error(self.path, lines[0], "TPM, numbers not below 0", "another content")

    def _wrong_width(self, columns: int, line: int) -> InputError:
        expected = f"{self._id_columns + len(self.samples):,} columns"
        return table_error(self.path, line, expected, f"{columns:,}")


def _plain_numbers(block: bytes, codes: np.ndarray, end: np.ndarray, width: np.ndarray) -> np.ndarray | None:
    """TPM float64 (V,) of fields of `width` (V,) before `end` (V,), None if one is not a number or below 0."""
    if (width < 1).any() or (end < WORD_BYTES).any():
        return None
    tpm, good = decimals(codes, end, width)
    for place in np.flatnonzero(~good).tolist():
        field = block[end[place] - width[place] : end[place]]
        if not (_NUMBER.fullmatch(field) and _is_tpm(field)):
            return None
        tpm[place] = float(field)
    return tpm


def _numbers(sections: list[bytes], delimiter: bytes, samples: int) -> np.ndarray | None:
    """TPM float64 (rows, samples), None if something is wrong; parsed as one column, faster than as thousands.

    A mark after each row shows that every row has its number of values: a short one cannot hide behind a long one.
    """
    import pyarrow as pa
    from pyarrow import csv

    marked = (b"\n%d\n" % _MARK).join([*sections, b""]).translate(bytes.maketrans(delimiter, b"\n"))
    convert = csv.ConvertOptions(column_types={"tpm": pa.float64()}, null_values=[], strings_can_be_null=False)
    read = csv.ReadOptions(column_names=["tpm"], block_size=len(marked) + 1, use_threads=False)
    parse = csv.ParseOptions(quote_char=False, ignore_empty_lines=False)
    try:
        table = csv.read_csv(pa.BufferReader(marked), read_options=read, parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid:
        return None
    values: np.ndarray = table["tpm"].to_numpy()
    if len(values) != len(sections) * (samples + 1):
        return None
    rows = values.reshape(len(sections), samples + 1)
    tpm = rows[:, :samples]
    return tpm if (rows[:, samples] == _MARK).all() and tpm.min() >= 0 and tpm.max() < np.inf else None


class ParquetTable:
    """A Parquet file with a column of ids and one numeric column per sample; rows are counted as lines."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        self.announced_rows: int | None = None
        self.header_line = 0
        try:
            self._file = pq.ParquetFile(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(
                where=str(path), expected="a Parquet file", found=" ".join(str(error).split()), fix="Check the path."
            ) from None
        names = self._file.schema_arrow.names
        self._id_columns = _id_columns(names)
        self.samples = names[self._id_columns :]
        if not self._id_columns or not self.samples:
            raise table_error(path, 0, "columns transcript_id, gene_id, samples …", repr(names[:4]))
        _refuse_twice(path, 0, self.samples)

    def blocks(self) -> Iterator[tuple[Any, int]]:
        """Record batches."""
        import pyarrow as pa

        before = 0
        try:
            for batch in self._file.iter_batches(_PARQUET_ROWS):
                yield batch, before
                before += batch.num_rows
        except (OSError, pa.ArrowInvalid) as error:
            raise table_error(self.path, before + 1, "readable Parquet", " ".join(str(error).split())) from None

    def parse(self, block: Any, lines_before: int) -> Rows:
        """Rows of a record batch."""
        line = np.arange(lines_before + 1, lines_before + 1 + block.num_rows)
        tpm = np.empty((block.num_rows, len(self.samples)))
        for column, sample in enumerate(self.samples):
            try:
                tpm[:, column] = block.column(self._id_columns + column).to_numpy(zero_copy_only=False)
            except (TypeError, ValueError):
                raise table_error(self.path, int(line[0]), f"numbers in column {sample!r}", "another type") from None
        bad = np.argwhere(~((tpm >= 0) & (tpm < np.inf)))
        if len(bad):
            row, column = bad[0].tolist()
            expected = f"TPM of sample {self.samples[column]!r}, a number not below 0"
            raise table_error(self.path, int(line[row]), expected, repr(tpm[row, column].item()))
        return Rows.of_dense([str(name) for name in block.column(0).to_pylist()], line, tpm)


def table_error(path: Path, line: int, expected: str, found: str) -> InputError:
    """An `InputError` that names a line of a table."""
    where = f"{path}, line {line:,}" if line else str(path)
    return InputError(
        where=where, expected=expected, found=found, fix="Correct the expression table or fetch it again."
    )


def _id_columns(names: Sequence[str]) -> int:
    return next((len(ids) for ids in ID_COLUMNS if tuple(names[: len(ids)]) == ids), 0)


def _refuse_twice(path: Path, line: int, samples: list[str]) -> None:
    if len(set(samples)) < len(samples):
        twice = next(name for name in samples if samples.count(name) > 1)
        raise table_error(path, line, "each sample once", f"{twice!r} again")


def _line(block: bytes, at: int) -> tuple[str, int]:
    end = block.find(b"\n", at)
    end = len(block) if end < 0 else end
    return block[at:end].decode("utf-8", "replace").rstrip("\r"), end + 1


def _is_tpm(field: bytes) -> bool:
    try:
        return 0 <= float(field) < float("inf") and b"_" not in field
    except ValueError:
        return False
