"""Records of a FASTA file, plain or gzipped: the sequences that language modelling reads."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from model.errors import InputError

Alphabet = Literal["sixmer", "esm"]
_FOREIGN = {"sixmer": re.compile(r"[^ACGTUNRYSWKMBDHVacgtunryswkmbdhv]"), "esm": re.compile(r"[^A-Za-z*.\-]")}
_KINDS = {"sixmer": "nucleotides", "esm": "residues"}


def read_sequences(path: Path, alphabet: Alphabet) -> list[str]:
    """All sequences of a FASTA file, upper case, a trailing stop taken off proteins.

    Raises `InputError` naming the line where a letter is no nucleotide or residue, a record is empty, or there is none.
    """
    return [sequence for _, sequence in _records(path, alphabet)]


def _records(path: Path, alphabet: Alphabet) -> Iterator[tuple[str, str]]:
    name, begun, pieces = "", 0, list[str]()
    for number, line in enumerate(_lines(path), start=1):
        if line.startswith(">"):
            if begun:
                yield name, _joined(path, begun, pieces, alphabet)
            name, begun, pieces = line[1:].strip(), number, []
        elif line.strip():
            if not begun:
                raise _error(path, number, "a header that begins with >", repr(line.strip()[:20]))
            foreign = _FOREIGN[alphabet].search(line.strip())
            if foreign:
                raise _error(path, number, f"{_KINDS[alphabet]} only", repr(foreign.group()))
            pieces.append(line.strip())
    if not begun:
        raise InputError(where=str(path), expected="FASTA records", found="none", fix="Give a FASTA file.")
    yield name, _joined(path, begun, pieces, alphabet)


def _joined(path: Path, line: int, pieces: list[str], alphabet: Alphabet) -> str:
    sequence = "".join(pieces).upper()
    if alphabet == "esm":
        sequence = sequence.rstrip("*")
    if not sequence:
        raise _error(path, line, "a sequence below each header", "none")
    return sequence


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as handle:
            zipped = handle.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rt", encoding="ascii") if zipped else path.open(encoding="ascii") as text:
            yield from text
    except FileNotFoundError:
        raise InputError(
            where=str(path), expected="a FASTA file", found="no such file", fix="Correct the path."
        ) from None
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, IsADirectoryError) as error:
        raise InputError(
            where=str(path), expected="FASTA text, plain or gzipped", found=str(error), fix="Give a whole FASTA file."
        ) from None


def _error(path: Path, line: int, expected: str, found: str) -> InputError:
    return InputError(where=f"{path}:{line}", expected=expected, found=found, fix="Correct the file.")
