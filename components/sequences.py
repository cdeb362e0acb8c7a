"""Nucleotides as codes: the genome on disk, DNA windows, reverse complement, splicing and translation. numpy only.

Codes are uint8: A0 C1 G2 T3, N and every other letter 4. Coordinates are 0-based, half-open, on the forward strand.
"""

from __future__ import annotations

import itertools
import json
import os
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from model.errors import InputError

CODE_N = 4
# XOR exchanges 0 with 3 and 1 with 2 and makes 7 of N, cut back to 4: two steps that a CPU does for many bases at once.
_COMPLEMENT_XOR = np.uint8(3)
_LETTERS = np.frombuffer(b"ACGTN", dtype=np.uint8)
_COMPLEMENT_BYTES = bytes((3, 2, 1, 0, CODE_N)) + bytes(251)
_LETTER_BYTES = _LETTERS.tobytes() + bytes(251)
_HEADER_BYTES = 1 << 16

# NCBI genetic codes 1 (standard) and 2 (vertebrate mitochondrial), codons in the order T, C, A, G of each base.
_NCBI_ORDER = "TCAG"
STANDARD_CODE = 1
MITOCHONDRIAL_CODE = 2
_RESIDUES = {
    STANDARD_CODE: "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG",
    MITOCHONDRIAL_CODE: "FFLLSSSSYY**CCWWLLLLPPPPHHQQRRRRIIMMTTTTNNKKSS**VVVVAAAADDEEGGGG",
}


def reverse_complement(codes: np.ndarray) -> np.ndarray:
    """The other strand of codes (L,), in its own 5'→3' direction."""
    complement = np.bitwise_xor(codes, _COMPLEMENT_XOR)
    np.minimum(complement, np.uint8(CODE_N), out=complement)
    return np.ascontiguousarray(complement[::-1])


def letters_of(codes: np.ndarray) -> str:
    """Letters A, C, G, T, N of codes (L,)."""
    return _LETTERS[codes].tobytes().decode("ascii")


def window_interval(tss: int, strand: str, window_bp: int) -> tuple[int, int]:
    """The forward interval of the DNA window; `Genome.window` of it has the TSS base at window_bp // 2 on both strands.

    `tss` is the 0-based position of the transcript's first base. The interval may run past the contig.
    """
    upstream = window_bp // 2
    start = tss - upstream if strand == "+" else tss - (window_bp - 1 - upstream)
    return start, start + window_bp


def splice(contig: np.ndarray, exons: Iterable[tuple[int, int]], strand: str) -> bytes:
    """RNA codes in sense direction, one byte per base, of ascending intervals on the codes of one contig."""
    forward = contig.data
    spliced = b"".join([forward[start:end] for start, end in exons])
    return spliced if strand == "+" else spliced.translate(_COMPLEMENT_BYTES)[::-1]


def letters_of_bytes(codes: bytes) -> str:
    """Letters A, C, G, T, N of codes that stand one per byte."""
    return codes.translate(_LETTER_BYTES).decode("ascii")


def _codon_table(code: int) -> np.ndarray:
    """Residue letters (125,) of codons of codes 0-4: one with N is resolved where all its readings agree, else X."""
    residue_of = {
        "".join(codon): residue
        for codon, residue in zip(itertools.product(_NCBI_ORDER, repeat=3), _RESIDUES[code], strict=True)
    }
    table = np.empty(125, dtype=np.uint8)
    for index, codon in enumerate(itertools.product("ACGTN", repeat=3)):
        readings = itertools.product(*("ACGT" if base == "N" else base for base in codon))
        residues = {residue_of["".join(reading)] for reading in readings}
        table[index] = ord(residues.pop() if len(residues) == 1 else "X")
    return table


_CODON_TABLES = {code: _codon_table(code) for code in _RESIDUES}


def translate(cds: np.ndarray, code: int = STANDARD_CODE) -> str:
    """Residues of the whole codons of codes (L,), stop codons as `*`; one or two bases left over are not read."""
    whole = len(cds) - len(cds) % 3
    bases = cds[:whole]
    index = bases[0::3] * 25 + bases[1::3] * 5 + bases[2::3]
    return _CODON_TABLES[code][index].tobytes().decode("ascii")


def translate_all(pieces: Sequence[bytes], code: int = STANDARD_CODE) -> list[str]:
    """`translate` of many sequences of codes at once, which is faster than one by one."""
    whole = [piece[: len(piece) - len(piece) % 3] for piece in pieces]
    residues = translate(np.frombuffer(b"".join(whole), dtype=np.uint8), code)
    ends = list(itertools.accumulate(len(piece) // 3 for piece in whole))
    return [residues[end - len(piece) // 3 : end] for piece, end in zip(whole, ends, strict=True)]


class Genome:
    """Contigs of a genome as codes, mapped from a safetensors file and read where asked for."""

    def __init__(self, codes: np.ndarray, spans: dict[str, tuple[int, int]]) -> None:
        self._codes = codes
        self._spans = spans

    @classmethod
    def open(cls, path: Path) -> Genome:
        """Map `path`, as `GenomeWriter` leaves it; a file that is no such genome raises `InputError`."""
        try:
            with path.open("rb") as handle:
                (length,) = struct.unpack("<Q", handle.read(8))
                size = path.stat().st_size
                header = json.loads(handle.read(min(length, size)))
            spans = {name: _span(entry) for name, entry in header.items() if name != "__metadata__"}
            end = max((last for _, last in spans.values()), default=0)
            if 8 + length + end != size:
                raise ValueError(f"{size:,} bytes")
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            raise InputError(
                where=str(path),
                expected="a genome of uint8 contigs in safetensors",
                found=f"another content ({error})",
                fix="Run extract-sequences again.",
            ) from None
        codes = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length) if end else np.empty(0, np.uint8)
        return cls(codes, spans)

    @property
    def contigs(self) -> list[str]:
        """Names, in the order of the genome."""
        return list(self._spans)

    def __contains__(self, contig: str) -> bool:
        return contig in self._spans

    def length(self, contig: str) -> int:
        """Bases of a contig."""
        first, last = self._spans[contig]
        return last - first

    def codes(self, contig: str) -> np.ndarray:
        """All codes of a contig, uint8 (L,), a view of the mapped file."""
        first, last = self._spans[contig]
        return self._codes[first:last]

    def window(self, contig: str, start: int, end: int, strand: str) -> np.ndarray:
        """Codes uint8 (end − start,) of a forward interval, N beyond the contig, reverse-complemented on `-`.

        An unknown contig or an interval that ends before it starts raises `InputError`.
        """
        if contig not in self._spans or end < start:
            raise InputError(
                where=f"{contig}:{start}-{end}",
                expected="an interval on a contig of the genome",
                found="an unknown contig" if contig not in self._spans else "an end before the start",
                fix="Use coordinates of the genome that the transcripts were extracted from.",
            )
        codes = self.codes(contig)
        if start >= 0 and end <= len(codes):
            window = np.asarray(codes[start:end])
        else:
            window = np.full(end - start, CODE_N, dtype=np.uint8)
            first, last = max(start, 0), min(end, len(codes))
            if first < last:
                window[first - start : last - start] = codes[first:last]
        return window.copy() if strand == "+" else reverse_complement(window)


def _span(entry: dict[str, object]) -> tuple[int, int]:
    offsets = entry["data_offsets"]
    if entry["dtype"] != "U8" or not isinstance(offsets, list):
        raise ValueError("not uint8 vectors")
    return int(offsets[0]), int(offsets[1])


class GenomeWriter:
    """Writes contigs one after the other into a safetensors file, without holding more than a piece in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = path.open("wb")
        self._handle.write(bytes(_HEADER_BYTES))
        self._ends: dict[str, int] = {}
        self._written = 0

    def start(self, contig: str) -> None:
        """Begin the next contig, whose name was not used before."""
        self._ends[contig] = self._written

    def write(self, codes: bytes) -> None:
        """Append codes to the current contig."""
        self._handle.write(codes)
        self._written += len(codes)
        self._ends[next(reversed(self._ends))] = self._written

    def close(self) -> None:
        """Write the header, which names contigs and lengths, before the data."""
        header = json.dumps(dict(_header_entries(self._ends.items())), separators=(",", ":")).encode()
        self._handle.close()
        if 8 + len(header) > _HEADER_BYTES:
            self._make_room(8 + len(header))
        room = max(_HEADER_BYTES, _aligned(8 + len(header)))
        with self._path.open("r+b") as handle:
            handle.write(struct.pack("<Q", room - 8) + header.ljust(room - 8))

    def _make_room(self, header_bytes: int) -> None:
        """Move the data back: assemblies of many contigs need a larger header than was kept free."""
        moved = self._path.with_name(self._path.name + ".moving")
        with self._path.open("rb") as source, moved.open("wb") as target:
            source.seek(_HEADER_BYTES)
            target.write(bytes(_aligned(header_bytes)))
            while piece := source.read(1 << 24):
                target.write(piece)
        os.replace(moved, self._path)


def _aligned(size: int) -> int:
    return size + -size % 4096


def _header_entries(ends: Iterable[tuple[str, int]]) -> Iterable[tuple[str, dict[str, object]]]:
    first = 0
    for name, last in ends:
        yield name, {"dtype": "U8", "shape": [last - first], "data_offsets": [first, last]}
        first = last


def sequence_features(dna: np.ndarray | None, rna: bytes | None, protein: str | None) -> dict[str, float]:
    """What training and served transcripts are compared by: lengths (nt, residues), GC shares and unknown shares.

    `dna` and `rna` are codes; a share counts among known bases; what is absent or all unknown has no feature.
    """
    features: dict[str, float] = {}
    for name, codes in (("dna", dna), ("rna", None if rna is None else np.frombuffer(rna, dtype=np.uint8))):
        if codes is None or not len(codes):
            continue
        counts = np.bincount(codes, minlength=CODE_N + 1)
        known = int(counts[:CODE_N].sum())
        if known:
            features[f"{name}_gc"] = float(counts[1] + counts[2]) / known
        features[f"{name}_unknown"] = 1 - known / len(codes)
    if rna:
        features["rna_nt"] = float(len(rna))
    if protein:
        features["protein_residues"] = float(len(protein))
    return features
