"""Nucleotides, codons and the bgzipped, indexed FASTA of a simulated genome.

BGZF is described in the SAM/BAM format specification, section 4.1; .fai and .gzi in samtools faidx(5) and bgzip(1).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

LINE_BASES = 60
BLOCK_BYTES = 65_280
_HEADER = struct.Struct("<4BI2BH2B2H")
_TRAILER = struct.Struct("<2I")
_EMPTY_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")

BASES = np.frombuffer(b"ACGTN", dtype=np.uint8)
BASE_N = 4
COMPLEMENT = np.array([3, 2, 1, 0, 4], dtype=np.uint8)

# The standard genetic code in the order of the four bases T, C, A, G (NCBI translation table 1).
_TABLE_1 = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
# Vertebrate mitochondrial (NCBI translation table 2): TGA is W, ATA is M, AGA and AGG stop.
_TABLE_2 = "FFLLSSSSYY**CCWWLLLLPPPPHHQQRRRRIIMMTTTTNNKKSS**VVVVAAAADDEEGGGG"


def codes_of(sequence: str) -> np.ndarray:
    """uint8 codes (L,), A0 C1 G2 T3, of a string of these letters."""
    lookup = np.full(256, BASE_N, dtype=np.uint8)
    lookup[BASES] = np.arange(5)
    return lookup[np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)]


def reverse_complement(codes: np.ndarray) -> np.ndarray:
    """The other strand of codes (L,), read in its own direction."""
    return COMPLEMENT[codes[::-1]]


def codons_by_residue(*, mitochondrial: bool = False) -> dict[str, np.ndarray]:
    """For each residue and `*`, its codons as uint8 codes (n, 3)."""
    table = _TABLE_2 if mitochondrial else _TABLE_1
    codons = (first + second + third for first in "TCAG" for second in "TCAG" for third in "TCAG")
    found: dict[str, list[np.ndarray]] = {}
    for residue, codon in zip(table, codons, strict=True):
        found.setdefault(residue, []).append(codes_of(codon))
    return {residue: np.stack(items) for residue, items in found.items()}


def encode_residues(residues: str, codons: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Codes (3 * residues,) of a peptide, each residue written with one of its codons at random."""
    draws = rng.random(len(residues))
    pieces = [codons[residue] for residue in residues]
    return np.concatenate([items[int(draw * len(items))] for items, draw in zip(pieces, draws, strict=True)])


def write_genome(path: Path, contigs: Iterable[tuple[str, np.ndarray, np.ndarray]]) -> None:
    """Write (name, codes (L,), soft-masked (L,) bool) contigs as bgzipped FASTA with .fai and .gzi beside it."""
    text = bytearray()
    index = []
    for name, codes, masked in contigs:
        text += f">{name}\n".encode()
        index.append(f"{name}\t{len(codes)}\t{len(text)}\t{LINE_BASES}\t{LINE_BASES + 1}\n")
        text += _lines(BASES[codes] + 32 * masked.astype(np.uint8))
    path.with_name(path.name + ".fai").write_text("".join(index), encoding="ascii")
    path.with_name(path.name + ".gzi").write_bytes(write_bgzf(path, bytes(text)))


def write_bgzf(path: Path, data: bytes) -> bytes:
    """Write `data` as blocked gzip and return the content of its .gzi index."""
    offsets = []
    compressed_size = 0
    with path.open("wb") as handle:
        for start in range(0, len(data), BLOCK_BYTES):
            if start:
                offsets.append((compressed_size, start))
            block = _block(data[start : start + BLOCK_BYTES])
            compressed_size += handle.write(block)
        handle.write(_EMPTY_BLOCK)
    return struct.pack("<Q", len(offsets)) + b"".join(struct.pack("<2Q", *pair) for pair in offsets)


def _block(data: bytes) -> bytes:
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = deflate.compress(data) + deflate.flush()
    size = _HEADER.size + len(body) + _TRAILER.size
    header = _HEADER.pack(31, 139, 8, 4, 0, 0, 255, 6, 66, 67, 2, size - 1)
    return header + body + _TRAILER.pack(zlib.crc32(data), len(data))


def _lines(letters: np.ndarray) -> bytes:
    whole = len(letters) - len(letters) % LINE_BASES
    rows = np.full((whole // LINE_BASES, LINE_BASES + 1), ord("\n"), dtype=np.uint8)
    rows[:, :LINE_BASES] = letters[:whole].reshape(-1, LINE_BASES)
    rest = letters[whole:].tobytes()
    return rows.tobytes() + (rest + b"\n" if rest else b"")
