"""A gzipped GCT as wide as GTEx's for the benchmark, of any length, in seconds.

Values are FABRICATED, distributed as those of the 17 HK1 transcripts of GTEx v8: the share of zeros, and mean and
deviation of the logarithm of the others, for each; written with two decimals and four digits, as there.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SAMPLES = 17_382
TISSUES = 30
# Share of zeros, mean and standard deviation of ln TPM where it is not zero.
_HK1 = (
    *((0.87, -0.27, 1.21), (0.00, 3.85, 0.81), (0.99, 0.11, 0.73), (1.00, -2.36, 0.37), (0.91, -1.71, 0.90)),
    *((0.96, 0.42, 2.35), (0.94, -0.31, 2.43), (0.98, -1.90, 0.56), (0.26, -0.10, 0.87), (0.94, -0.90, 1.82)),
    *((0.99, -1.42, 0.94), (0.92, -2.00, 0.65), (0.92, -2.06, 0.64), (0.98, 0.94, 1.07), (0.98, -1.40, 0.88)),
    *((0.75, -0.33, 1.47), (0.01, -0.71, 1.15)),
)
_COPIES = 8
_GZIP_HEADER = bytes.fromhex("1f8b08000000000000ff")
_LEVEL = 6


@dataclass(frozen=True)
class WideTable:
    """The files, their rows, and the bytes of text in the table."""

    table: Path
    attributes: Path
    rows: int
    text_bytes: int


class _Gzip:
    """A single gzip member put together from pieces, those that come again compressed once only."""

    def __init__(self, path: Path) -> None:
        self._handle = path.open("wb")
        self._handle.write(_GZIP_HEADER)
        self._checksum = 0
        self.size = 0

    @staticmethod
    def compressed(text: bytes) -> bytes:
        """Deflate blocks that do not look back before their beginning."""
        deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        return deflate.compress(text) + deflate.flush(zlib.Z_FULL_FLUSH)

    def write(self, text: bytes, compressed: bytes | None = None) -> None:
        self._handle.write(self.compressed(text) if compressed is None else compressed)
        self._checksum = zlib.crc32(text, self._checksum)
        self.size += len(text)

    def close(self) -> None:
        end = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS).flush()
        self._handle.write(end + struct.pack("<2I", self._checksum, self.size & 0xFFFFFFFF))
        self._handle.close()


def fabricate(folder: Path, gigabytes: float, seed: int = 0) -> WideTable:
    """Write a table of about so many gigabytes of text, and its sample attributes, below `folder`."""
    rng = np.random.default_rng(seed)
    place = folder / f"table-{gigabytes}"
    place.mkdir(parents=True, exist_ok=True)
    samples = [f"SYNTX-{number:05d}-0226-SM-5GZZ7" for number in range(SAMPLES)]
    tissues = rng.integers(0, TISSUES, SAMPLES)
    lines = [f"{name}\tTissue {tissue:02d}\tRNASEQ\n" for name, tissue in zip(samples, tissues.tolist(), strict=True)]
    (place / "attributes.txt").write_text("SAMPID\tSMTS\tSMAFRZE\n" + "".join(lines))
    values = [_values(rng, *profile) for profile in _HK1 * _COPIES]
    compressed = [_Gzip.compressed(text) for text in values]
    rows = max(1, round(gigabytes * 1e9 / (sum(map(len, values)) / len(values))))
    table = place / "transcript_tpm.gct.gz"
    writer = _Gzip(table)
    header = "\t".join(["transcript_id", "gene_id", *samples])
    writer.write(f"#1.2\n{rows}\t{SAMPLES}\n{header}\n".encode())
    for row in range(rows):
        writer.write(f"SYNT{row:011d}.1\tSYNG{row // 4:011d}.1\t".encode())
        writer.write(values[row % len(values)], compressed[row % len(values)])
    writer.close()
    return WideTable(table, place / "attributes.txt", rows, writer.size)


def _values(rng: np.random.Generator, zeros: float, mean: float, deviation: float) -> bytes:
    tpm = np.where(rng.random(SAMPLES) < zeros, 0, np.round(np.exp(rng.normal(mean, deviation, SAMPLES)), 2))
    return "\t".join([f"{value:.4g}" for value in tpm.tolist()]).encode() + b"\n"
