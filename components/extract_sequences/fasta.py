"""Genome FASTA (plain, gzip or bgzip) to codes, streamed: one pass, one block in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from components.allocation import keep_freed_memory
from components.extract_sequences.streams import read_blocks
from components.sequences import CODE_N, GenomeWriter
from model.errors import InputError

_INVALID = 255
_LINE_END = ord("\n")
_AMBIGUOUS = b"RYSWKMBDHV"


def _translation() -> bytes:
    table = bytearray([_INVALID]) * 256
    for letters, code in ((b"A", 0), (b"C", 1), (b"G", 2), (b"TU", 3), (b"N" + _AMBIGUOUS, CODE_N)):
        for letter in letters + letters.lower():
            table[letter] = code
    return bytes(table)


_TABLE = _translation()


@dataclass
class GenomeFacts:
    """What was read: lengths by contig, and how many bases were IUPAC ambiguity codes, now N."""

    lengths: dict[str, int] = field(default_factory=dict)
    ambiguous_bases: int = 0


def write_genome(fasta: Path, target: Path) -> GenomeFacts:
    """Write the contigs of `fasta` to `target` as codes, lower case as upper case; the name is the first word.

    Raises `InputError` naming file and line for a letter that is no nucleotide, a contig without name or bases, a name
    used twice, and text before the first header.
    """
    keep_freed_memory()
    writer = GenomeWriter(target)
    facts = GenomeFacts()
    lines = 0
    try:
        for block in read_blocks(fasta):
            lines = _read_block(fasta, block, lines, writer, facts)
    finally:
        writer.close()
    for name, length in facts.lengths.items():
        if not length:
            raise _error(fasta, None, "bases in each contig", f"none in {name!r}")
    return facts


def _read_block(fasta: Path, block: bytes, lines: int, writer: GenomeWriter, facts: GenomeFacts) -> int:
    """Write what a block holds; `lines` stand before it, and those behind it are returned."""
    at = 0
    while at < len(block):
        if block[at : at + 1] == b">":
            end = block.index(b"\n", at)
            lines += 1
            _start_contig(fasta, block[at:end], lines, writer, facts)
            at = end + 1
            continue
        header = block.find(b"\n>", at)
        end = header + 1 if header >= 0 else len(block)
        piece = block[at:end]
        # Taking line ends out first and translating then is many times faster than both at once.
        codes = piece.replace(b"\n", b"").replace(b"\r", b"").translate(_TABLE)
        if codes:
            _check(fasta, piece, codes, lines, facts)
            writer.write(codes)
            facts.lengths[next(reversed(facts.lengths))] += len(codes)
        # Counted by numpy: bytes.count takes longer than all the rest where line ends are this frequent.
        lines += int(np.count_nonzero(np.frombuffer(piece, dtype=np.uint8) == _LINE_END))
        at = end
    return lines


def _start_contig(fasta: Path, header: bytes, line: int, writer: GenomeWriter, facts: GenomeFacts) -> None:
    words = header[1:].decode("utf-8", "replace").split(maxsplit=1)
    if not words or words[0] == "__metadata__" or header[1:2].isspace():
        raise _error(fasta, line, "a contig name after >", repr(header.decode("utf-8", "replace")))
    if words[0] in facts.lengths:
        raise _error(fasta, line, "each contig once", f"{words[0]!r} again")
    facts.lengths[words[0]] = 0
    writer.start(words[0])


def _check(fasta: Path, piece: bytes, codes: bytes, lines_before: int, facts: GenomeFacts) -> None:
    if not facts.lengths:
        raise _error(
            fasta, lines_before + 1, "a FASTA header starting with >", repr(piece[:20].decode("ascii", "replace"))
        )
    if _INVALID in codes:
        for number, line in enumerate(piece.split(b"\n"), start=lines_before + 1):
            strange = [letter for letter in line.rstrip(b"\r") if _TABLE[letter] == _INVALID]
            if strange:
                raise _error(fasta, number, "nucleotides", repr(chr(strange[0])))
    unknown = codes.count(CODE_N)
    if unknown:
        facts.ambiguous_bases += unknown - piece.count(b"N") - piece.count(b"n")


def _error(fasta: Path, line: int | None, expected: str, found: str) -> InputError:
    where = str(fasta) if line is None else f"{fasta}, line {line:,}"
    return InputError(where=where, expected=expected, found=found, fix="Correct the genome FASTA or fetch it again.")
