"""Numbers in text, many at once: eight letters of each are one unsigned integer, and handled by its arithmetic.

Words are little-endian: the first letter is in the lowest byte.
"""

from __future__ import annotations

import numpy as np

WORD_BYTES = 8
# Numbers whose arithmetic stays in a CPU's cache: four times as fast as a hundred thousand at once.
_AT_ONCE = 1 << 14
_BYTE = np.uint64(8)
# The first 0 to 8 bytes of a word, and as many zeros as letters.
_FIRST_BYTES = np.array([(1 << 8 * count) - 1 for count in range(WORD_BYTES + 1)], dtype=np.uint64)
_EACH = np.uint64(0x0101010101010101)
_ZEROS = _EACH * np.uint64(ord("0"))
_HIGH_HALVES = _EACH * np.uint64(0xF0)
_HIGH_BITS = _EACH * np.uint64(0x80)
_SIXES = _EACH * np.uint64(6)
_DOTS = _EACH * np.uint64(ord("."))
_ONE = np.uint64(1)
# 1 << 8k times this has k + 1 in its highest four bits.
_PLACES = np.uint64(sum((place + 1) << 4 << 8 * (7 - place) for place in range(WORD_BYTES)))
# Of a word without a dot, and with one at its byte 0 to 7.
_DIVISORS = np.array([1.0] + [10.0 ** (7 - place) for place in range(WORD_BYTES)])


def words(codes: np.ndarray, start: np.ndarray, width: np.ndarray | None = None) -> np.ndarray:
    """The `width` (R,) ≤ 8 bytes from `start` (R,), eight if None, as little-endian uint64 (R,), zeros behind them.

    Past the end of `codes` are zeros, too.
    """
    if len(codes) < WORD_BYTES:
        codes = np.concatenate([codes, np.zeros(WORD_BYTES, dtype=np.uint8)])
    last = len(codes) - WORD_BYTES
    overlapping = np.ndarray((last + 1,), dtype="<u8", buffer=codes, strides=(1,))
    if int(start.max(initial=0)) <= last:
        found = overlapping[start]
        return found if width is None else found & _FIRST_BYTES[width]
    clipped = np.minimum(start, last)
    past = np.minimum(start - clipped, WORD_BYTES)
    # Shifting a word by all its bits is undefined.
    shift = (past % WORD_BYTES * 8).astype(np.uint64)
    found = np.where(past < WORD_BYTES, overlapping[clipped] >> shift, np.uint64(0))
    return found if width is None else found & _FIRST_BYTES[width]


def integers(codes: np.ndarray, start: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers int64 (R,) written with `width` (R,) ≥ 1 digits, and where there is another letter, bool (R,)."""
    tail = np.minimum(width, WORD_BYTES)
    missing = WORD_BYTES - tail
    word = words(codes, start + width - tail, tail) << (missing * 8).astype(np.uint64)
    word |= _ZEROS & _FIRST_BYTES[missing]
    bad = _has_other_letters(word)
    values = _of_digits(word).astype(np.int64)
    more = np.flatnonzero(width > WORD_BYTES)
    if len(more):
        leading, bad_leading = integers(codes, start[more], width[more] - WORD_BYTES)
        values[more] += leading * 10**WORD_BYTES
        bad[more] |= bad_leading
    return values, bad


def decimals(codes: np.ndarray, end: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers float64 (R,) of digits and at most one dot, in the `width` (R,) ≥ 1 bytes before `end` (R,) ≥ 8.

    And whether they are so and no longer than eight, bool (R,); where not, the number means nothing. Each is the
    float64 nearest to what is written: whole numbers below 10**8 and the powers of ten that divide them are exact.
    """
    parts = [
        _decimals(codes, end[first : first + _AT_ONCE], width[first : first + _AT_ONCE])
        for first in range(0, max(1, len(end)), _AT_ONCE)
    ]
    return np.concatenate([values for values, _ in parts]), np.concatenate([good for _, good in parts])


def _decimals(codes: np.ndarray, end: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    missing = WORD_BYTES - np.minimum(width, WORD_BYTES)
    outside = _FIRST_BYTES[missing]
    word = (words(codes, end - WORD_BYTES) & ~outside) | (_ZEROS & outside)
    other = word ^ _DOTS
    # The lowest byte that is a dot has its high bit here; taking the lowest bit drops what a borrow may set above it.
    dot = (other - _EACH) & ~other & _HIGH_BITS
    dot &= ~dot + _ONE
    at = dot >> np.uint64(7)
    before = at - _ONE
    behind = ~((dot << _ONE) - _ONE)
    joined = (word & behind) | ((word & before) << _BYTE) | np.uint64(ord("0"))
    digits = np.where(dot == 0, word, joined)
    good = ~_has_other_letters(digits) & (width <= WORD_BYTES) & ((dot == 0) | (width > 1))
    divisor = _DIVISORS[(at * _PLACES >> np.uint64(60)).astype(np.int64)]
    return _of_digits(digits) / divisor, good


def _has_other_letters(word: np.ndarray) -> np.ndarray:
    """Whether some byte is no digit: one is 0x30 to 0x39, its high half is 3 and still is when 6 is added."""
    return ((word & _HIGH_HALVES) != _ZEROS) | (((word + _SIXES) & _HIGH_HALVES) != _ZEROS)


def _of_digits(word: np.ndarray) -> np.ndarray:
    """Values uint64 of words of eight digits: pairs, then fours, then all are joined."""
    digits = word - _ZEROS
    pairs = (digits * np.uint64(10) + (digits >> _BYTE)) & np.uint64(0x00FF00FF00FF00FF)
    fours = (pairs * np.uint64(100) + (pairs >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    return (fours * np.uint64(10_000) + (fours >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
