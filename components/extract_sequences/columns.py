"""The nine tab-separated columns of GTF and GFF3, found in a block of text with numpy instead of line by line.

Fields are read eight bytes at a time, as one unsigned integer per row.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.errors import InputError

COLUMNS = 9
CONTIG, SOURCE, FEATURE, START, END, SCORE, STRAND, FRAME, ATTRIBUTES = range(COLUMNS)
_MAX_DIGITS = 18
_WORD_BYTES = 8
# The first 0 to 8 bytes of a little-endian word, and as many zeros as letters.
_FIRST_BYTES = np.array([(1 << 8 * count) - 1 for count in range(_WORD_BYTES + 1)], dtype=np.uint64)
_ZEROS = _FIRST_BYTES & np.uint64(0x3030303030303030)
# Multipliers of the hash by which equal names are found; fixed, so that every run does the same.
_WEIGHTS = np.random.default_rng(20_240_614).integers(1, 2**63, 512, dtype=np.uint64) | np.uint64(1)


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
        start, width = self._span(column)
        self._refuse_numbers(column, (width < 1) | (width > _MAX_DIGITS))
        values, bad = _decimals(self.codes, start, width)
        self._refuse_numbers(column, bad | (values < 1))
        return values

    def _span(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        start = self.edges[:, column]
        return start, self.edges[:, column + 1] - 1 - start

    def _refuse_numbers(self, column: int, bad: np.ndarray) -> None:
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise self.error(row, f"a positive whole number in column {column + 1}", repr(self.text(row, column)))

    def hashes(self, column: int) -> np.ndarray:
        """Hashes uint64 (R,) that tell the different values of a column apart."""
        start, width = self._span(column)
        hashes = width.astype(np.uint64) * _WEIGHTS[-1]
        longest = min(int(width.max(initial=0)), _WORD_BYTES * (len(_WEIGHTS) - 1))
        for number, place in enumerate(range(0, longest, _WORD_BYTES)):
            inside = np.clip(width - place, 0, _WORD_BYTES)
            hashes += words(self.codes, start + place, inside) * _WEIGHTS[number]
        return hashes

    def like_before(self, column: int, size: int) -> np.ndarray:
        """Whether the `size` bytes from a column's start are those of the row before, bool (R,), at most 8 more."""
        start = self.edges[:, column]
        same = np.ones(len(start), dtype=bool)
        same[:1] = False
        for place in range(0, size, _WORD_BYTES):
            word = words(self.codes, start + place)
            same[1:] &= word[1:] == word[:-1]
        return same

    def error(self, row: int, expected: str, found: str) -> InputError:
        """An `InputError` that names the line of a row."""
        return InputError(
            where=f"{self.path}, line {self.line[row]:,}",
            expected=expected,
            found=found,
            fix="Correct the annotation or fetch it again.",
        )


def words(codes: np.ndarray, start: np.ndarray, width: np.ndarray | None = None) -> np.ndarray:
    """The `width` (R,) ≤ 8 bytes from `start` (R,), eight if None, as little-endian uint64 (R,), zeros behind them.

    Past the end of `codes` are zeros, too.
    """
    if len(codes) < _WORD_BYTES:
        codes = np.concatenate([codes, np.zeros(_WORD_BYTES, dtype=np.uint8)])
    last = len(codes) - _WORD_BYTES
    overlapping = np.ndarray((last + 1,), dtype="<u8", buffer=codes, strides=(1,))
    if int(start.max(initial=0)) <= last:
        found = overlapping[start]
        return found if width is None else found & _FIRST_BYTES[width]
    clipped = np.minimum(start, last)
    past = np.minimum(start - clipped, _WORD_BYTES)
    # Shifting a word by all its bits is undefined.
    shift = (past % _WORD_BYTES * 8).astype(np.uint64)
    found = np.where(past < _WORD_BYTES, overlapping[clipped] >> shift, np.uint64(0))
    return found if width is None else found & _FIRST_BYTES[width]


def _decimals(codes: np.ndarray, start: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers int64 (R,) written with `width` (R,) ≥ 1 digits, and where there is another letter, bool (R,)."""
    tail = np.minimum(width, _WORD_BYTES)
    missing = _WORD_BYTES - tail
    word = words(codes, start + width - tail, tail) << (missing * 8).astype(np.uint64) | _ZEROS[missing]
    high = np.uint64(0xF0F0F0F0F0F0F0F0)
    threes = np.uint64(0x3030303030303030)
    # A digit is 0x30 to 0x39: its high half is 3, and still is when 6 is added.
    bad = ((word & high) != threes) | (((word + np.uint64(0x0606060606060606)) & high) != threes)
    values = _eight_digits(word - threes).astype(np.int64)
    more = np.flatnonzero(width > _WORD_BYTES)
    if len(more):
        leading, bad_leading = _decimals(codes, start[more], width[more] - _WORD_BYTES)
        values[more] += leading * 10**_WORD_BYTES
        bad[more] |= bad_leading
    return values, bad


def _eight_digits(digits: np.ndarray) -> np.ndarray:
    """Values of words of eight digits 0 to 9, the first in the lowest byte: pairs, then fours, then all are joined."""
    pairs = (digits * np.uint64(10) + (digits >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    fours = (pairs * np.uint64(100) + (pairs >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    return (fours * np.uint64(10_000) + (fours >> np.uint64(32))) & np.uint64(0xFFFFFFFF)


class NameNumbers:
    """Numbers of the different values of a column, in the order in which they appear, the same for all blocks."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._hashes = np.empty(0, dtype=np.uint64)  # ascending
        self._numbers = np.empty(0, dtype=np.int64)

    def of(self, rows: Rows, column: int) -> np.ndarray:
        """Number of each row's value, int64 (R,), an index into `names`."""
        hashes = rows.hashes(column)
        place, known = self._find(hashes)
        if not known.all():
            unknown = np.flatnonzero(~known)
            new, first = np.unique(hashes[unknown], return_index=True)
            order = np.argsort(first)
            self._hashes = np.concatenate([self._hashes, new[order]])
            self._numbers = np.concatenate([self._numbers, len(self.names) + np.arange(len(new))])
            self.names += [rows.text(row, column) for row in unknown[first[order]].tolist()]
            ascending = np.argsort(self._hashes)
            self._hashes, self._numbers = self._hashes[ascending], self._numbers[ascending]
            place, _ = self._find(hashes)
        return self._numbers[place]

    def _find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not len(self._hashes):
            return np.zeros(len(hashes), dtype=np.int64), np.zeros(len(hashes), dtype=bool)
        place = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        return place, self._hashes[place] == hashes


def split_rows(path: Path, block: bytes, lines_before: int) -> Rows:
    """The data rows of a block of whole lines; comments and blank lines are left out.

    A row that has not nine columns raises `InputError` with its line.
    """
    codes = np.frombuffer(block, dtype=np.uint8)
    edges = _plain_edges(codes)
    if edges is not None:
        return Rows(path, block, codes, edges, lines_before + 1 + np.arange(len(edges)), len(edges))
    ends = np.flatnonzero(codes == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    # A carriage return before the line end is not part of the last column.
    bare_ends = ends - ((ends > starts) & (codes[ends - 1] == ord("\r")))
    data = (codes[starts] != ord("#")) & (bare_ends > starts)
    tabs = np.flatnonzero(codes == ord("\t"))
    line = lines_before + 1 + np.flatnonzero(data)
    edges = np.empty((len(line), COLUMNS + 1), dtype=np.int64)
    edges[:, 0] = starts[data]
    edges[:, COLUMNS] = bare_ends[data] + 1
    if len(line):
        edges[:, 1:COLUMNS] = _inner_edges(path, block, tabs, line, starts[data], bare_ends[data])
    return Rows(path, block, codes, edges, line, len(ends))


def _plain_edges(codes: np.ndarray) -> np.ndarray | None:
    """Edges of rows, int64 (R, 10), where each line is one and none ends with a carriage return, else None."""
    marks = np.flatnonzero(codes <= ord("\r"))
    if not len(marks) or len(marks) % COLUMNS:
        return None
    marks = marks.reshape(-1, COLUMNS)
    starts = np.concatenate([[0], marks[:-1, -1] + 1])
    rows = (codes[marks[:, :-1]] == ord("\t")).all() and (codes[marks[:, -1]] == ord("\n")).all()
    if not rows or (codes[starts] == ord("#")).any() or marks[-1, -1] != len(codes) - 1:
        return None
    return np.concatenate([starts[:, None], marks + 1], axis=1)


def _inner_edges(
    path: Path, block: bytes, tabs: np.ndarray, line: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    """Where columns two to nine of rows start, int64 (R, 8)."""
    if len(tabs) == len(line) * (COLUMNS - 1):
        mine = tabs.reshape(len(line), COLUMNS - 1)
        if ((mine[:, 0] >= starts) & (mine[:, -1] < ends)).all():
            return mine + 1
    # Comments have tabs, too, or a row has another number of them.
    first = np.searchsorted(tabs, starts)
    count = np.searchsorted(tabs, ends) - first
    wrong = np.flatnonzero(count != COLUMNS - 1)
    if len(wrong):
        row = int(wrong[0])
        text = block[starts[row] : ends[row]].decode("utf-8", "replace")
        raise InputError(
            where=f"{path}, line {line[row]:,}",
            expected="nine tab-separated columns, as GTF and GFF3 have",
            found=f"{count[row] + 1} in {_shortened(text)!r}",
            fix="Correct the annotation or fetch it again.",
        )
    return tabs[first[:, None] + np.arange(COLUMNS - 1)] + 1


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
