"""Tables of transcripts × samples, read block by block: GCT 1.2, tab- or comma-separated text, Parquet."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from components.extract_sequences.streams import read_blocks
from model.errors import InputError

# What may stand before the samples; the transcript's id comes first.
ID_COLUMNS = (("transcript_id", "gene_id"), ("Name", "Description"), ("transcript_id",), ("Name",), ("target_id",))
_BLOCK_BYTES = 1 << 24
_PARQUET_ROWS = 256
_MARK = -1


@dataclass(frozen=True)
class Rows:
    """R rows: `tpm` float64 (R, samples), not negative; `line` int64 (R,), where each stands in its file."""

    ids: list[str]
    line: np.ndarray
    tpm: np.ndarray


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
            return Rows(ids, np.empty(0, dtype=np.int64), np.empty((0, len(self.samples))))
        tpm = _numbers(sections, delimiter, len(self.samples))
        if tpm is None:
            raise self._first_error(sections, numbers)
        return Rows(ids, np.array(numbers, dtype=np.int64), tpm)

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
        return Rows([str(name) for name in block.column(0).to_pylist()], line, tpm)


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
