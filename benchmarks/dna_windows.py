"""Claim: DNA windows of 196,608 bp reach training as uint8 at 2,000 per second and core or more, both strands mixed.

    python -m benchmarks.dna_windows [--genome-mb 200] [--windows 4000]

The genome is random (FABRICATED), mapped from a file as training maps it; windows lie at random places, half of them
on the minus strand, one in fifty past an end of its contig. The peer reads the same windows as letters from an indexed
FASTA (pyfaidx) and turns them into codes with a table.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from components.sequences import Genome, GenomeWriter, window_interval

WINDOW_BP = 196_608
_LIMIT = 2_000
_CONTIGS = 4


def write_genome(folder: Path, bases: int) -> tuple[Genome, Path]:
    """The same random genome as codes and as FASTA."""
    rng = np.random.default_rng(0)
    writer = GenomeWriter(folder / "genome.safetensors")
    with (folder / "genome.fa").open("wb") as fasta:
        for number in range(_CONTIGS):
            codes = rng.integers(0, 4, bases // _CONTIGS // 60 * 60, dtype=np.uint8)
            writer.start(f"chr{number + 1}")
            writer.write(codes.tobytes())
            rows = np.full((len(codes) // 60, 61), ord("\n"), dtype=np.uint8)
            rows[:, :60] = np.frombuffer(b"ACGT", dtype=np.uint8)[codes].reshape(-1, 60)
            fasta.write(f">chr{number + 1}\n".encode() + rows.tobytes())
    writer.close()
    return Genome.open(folder / "genome.safetensors"), folder / "genome.fa"


def draw(genome: Genome, count: int) -> list[tuple[str, int, int, str]]:
    """Contig, start, end and strand of windows around random transcription start sites."""
    rng = np.random.default_rng(1)
    windows = []
    for number in range(count):
        contig = f"chr{rng.integers(_CONTIGS) + 1}"
        length = genome.length(contig)
        margin = 0 if number % 50 == 0 else WINDOW_BP
        tss = int(rng.integers(length - 1000, length)) if margin == 0 else int(rng.integers(margin, length - margin))
        windows.append((contig, *window_interval(tss, "+-"[number % 2], WINDOW_BP), "+-"[number % 2]))
    return windows


def rate(cut: Callable[[str, int, int, str], np.ndarray], windows: list[tuple[str, int, int, str]]) -> float:
    """Windows per second of processor time, the best of three rounds."""
    best = 0.0
    for _ in range(3):
        started = time.process_time()
        for window in windows:
            cut(*window)
        best = max(best, len(windows) / (time.process_time() - started))
    return best


def peer_of(fasta: Path) -> Callable[[str, int, int, str], np.ndarray]:
    """Cutting with pyfaidx, N past contig ends."""
    from pyfaidx import Fasta

    reader = Fasta(str(fasta), as_raw=True, sequence_always_upper=True)
    table = np.full(256, 4, dtype=np.uint8)
    table[np.frombuffer(b"ACGT", dtype=np.uint8)] = np.arange(4)
    complement = np.array([3, 2, 1, 0, 4], dtype=np.uint8)

    def cut(contig: str, start: int, end: int, strand: str) -> np.ndarray:
        codes = table[np.frombuffer(reader[contig][max(start, 0) : end].encode(), dtype=np.uint8)]
        before = max(-start, 0)
        codes = np.pad(codes, (before, end - start - before - len(codes)), constant_values=4)
        return codes if strand == "+" else complement[codes[::-1]]

    return cut


def main() -> None:
    """Print rates by strand, both mixed, and the peer's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genome-mb", type=int, default=200)
    parser.add_argument("--windows", type=int, default=4000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="isoformer-windows-") as folder:
        genome, fasta = write_genome(Path(folder), arguments.genome_mb * 1_000_000)
        windows = draw(genome, arguments.windows)
        rates = {
            "plus strand": rate(genome.window, [item for item in windows if item[3] == "+"]),
            "minus strand": rate(genome.window, [item for item in windows if item[3] == "-"]),
            "both mixed": rate(genome.window, windows),
        }
        peer = peer_of(fasta)
        sample = windows[:: max(1, len(windows) // 200)]
        different = sum(not np.array_equal(genome.window(*item), peer(*item)) for item in sample)
        rates["pyfaidx, both mixed"] = rate(peer, sample)
    print(f"FABRICATED genome of {arguments.genome_mb} Mb, {arguments.windows:,} windows of {WINDOW_BP:,} bp, one core")
    for name, value in rates.items():
        print(f"  {name:20} {value:10,.0f} windows/s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  limit {_LIMIT:,}; windows unlike the peer's: {different} of {len(sample)}; peak memory {peak:,.0f} MB")
    print(f"the claim {'holds' if rates['both mixed'] >= _LIMIT and not different else 'DOES NOT HOLD'}")


if __name__ == "__main__":
    main()
