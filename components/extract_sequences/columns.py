"""The nine tab-separated columns of GTF and GFF3, found in a block of text with numpy instead of line by line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.errors import InputError

COLUMNS = 9
CONTIG, SOURCE, FEATURE, START, END, SCORE, STRAND, FRAME, ATTRIBUTES = range(COLUMNS)
_MAX_DIGITS = 18
# Multipliers of the hash by which equal names are found; fixed, so that every run does the same.
_WEIGHTS = np.random.default_rng(20_240_614).integers(1, 2**63, 4096, dtype=np.uint64) | np.uint64(1)


@dataclass(frozen=True)
class Rows:
    """R data rows of a block; `edges` int64 (R, 10) are where columns start, and one past the line end's place.

    `line` int64 (R,): 1-based number in the file. `lines`: of the block, with comments and blank lines.
    """

    path: Path
    block: bytes
    codes: np.ndarray
    edges: np.ndarray
    line: np.ndarray
    lines: int

    def __len__(self) -> int:
        return len(self.line)

    def take(self, chosen: np.ndarray) -> Rows:
        """The rows of a boolean or index array."""
        return Rows(self.path, self.block, self.codes, self.edges[chosen], self.line[chosen], self.lines)

    def text(self, row: int, column: int) -> str:
        """One field."""
        return self.field(row, column).decode("utf-8", "replace")

    def field(self, row: int, column: int) -> bytes:
        """One field, as bytes."""
        return self.block[self.edges[row, column] : self.edges[row, column + 1] - 1]

    def letters(self, column: int) -> np.ndarray:
        """First byte of a column, uint8 (R,)."""
        return self.codes[self.edges[:, column]]

    def integers(self, column: int) -> np.ndarray:
        """A column of positive integers, int64 (R,); another content raises `InputError` with its line."""
        start, width = self.edges[:, column], self.edges[:, column + 1] - 1 - self.edges[:, column]
        values = np.zeros(len(self), dtype=np.int64)
        bad = (width < 1) | (width > _MAX_DIGITS)
        self._refuse_numbers(column, bad)
        for place in range(int(width.max(initial=0))):
            inside = place < width
            digit = self.codes[np.where(inside, start + place, start)].astype(np.int64) - ord("0")
            bad |= inside & ((digit < 0) | (digit > 9))
            values = np.where(inside, values * 10 + digit, values)
        self._refuse_numbers(column, bad | (values < 1))
        return values

    def _refuse_numbers(self, column: int, bad: np.ndarray) -> None:
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise self.error(row, f"a positive whole number in column {column + 1}", repr(self.text(row, column)))

    def names(self, column: int, known: dict[int, str]) -> np.ndarray:
        """Hashes uint64 (R,) that tell the different values of a column apart; `known` collects hash → value."""
        hashes = self._hashes(column)
        values, first = np.unique(hashes, return_index=True)
        for value, row in zip(values.tolist(), first.tolist(), strict=True):
            if value not in known:
                known[value] = self.text(row, column)
        return hashes

    def _hashes(self, column: int) -> np.ndarray:
        start, width = self.edges[:, column], self.edges[:, column + 1] - 1 - self.edges[:, column]
        hashes = width.astype(np.uint64) * _WEIGHTS[-1]
        for place in range(min(int(width.max(initial=0)), len(_WEIGHTS) - 1)):
            inside = place < width
            letter = self.codes[np.where(inside, start + place, start)].astype(np.uint64)
            hashes += np.where(inside, letter * _WEIGHTS[place], np.uint64(0))
        return hashes

    def error(self, row: int, expected: str, found: str) -> InputError:
        """An `InputError` that names the line of a row."""
        return InputError(
            where=f"{self.path}, line {self.line[row]:,}",
            expected=expected,
            found=found,
            fix="Correct the annotation or fetch it again.",
        )


def split_rows(path: Path, block: bytes, lines_before: int) -> Rows:
    """The data rows of a block of whole lines; comments and blank lines are left out.

    A row that has not nine columns raises `InputError` with its line.
    """
    codes = np.frombuffer(block, dtype=np.uint8)
    ends = np.flatnonzero(codes == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    # A carriage return before the line end is not part of the last column.
    bare_ends = ends - ((ends > starts) & (codes[ends - 1] == ord("\r")))
    data = (codes[starts] != ord("#")) & (bare_ends > starts)
    tabs = np.flatnonzero(codes == ord("\t"))
    first = np.searchsorted(tabs, starts)
    count = np.searchsorted(tabs, ends) - first
    line = lines_before + 1 + np.flatnonzero(data)
    starts, bare_ends, first, count = starts[data], bare_ends[data], first[data], count[data]
    wrong = np.flatnonzero(count != COLUMNS - 1)
    if len(wrong):
        row = int(wrong[0])
        text = block[starts[row] : bare_ends[row]].decode("utf-8", "replace")
        raise InputError(
            where=f"{path}, line {line[row]:,}",
            expected="nine tab-separated columns, as GTF and GFF3 have",
            found=f"{count[row] + 1} in {_shortened(text)!r}",
            fix="Correct the annotation or fetch it again.",
        )
    edges = np.empty((len(line), COLUMNS + 1), dtype=np.int64)
    edges[:, 0] = starts
    if len(line):
        edges[:, 1:COLUMNS] = tabs[first[:, None] + np.arange(COLUMNS - 1)] + 1
    edges[:, COLUMNS] = bare_ends + 1
    return Rows(path, block, codes, edges, line, len(ends))


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
