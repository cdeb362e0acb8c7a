"""Unions of intervals by contig, and regions that a user gives as BED."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from components.extract_sequences.contig_names import match_contig
from components.extract_sequences.streams import read_blocks
from components.sequences import Genome
from model.errors import InputError

Interval = tuple[str, int, int]


class Coverage:
    """The union of 0-based half-open intervals (contig, start, end), as sorted disjoint ones."""

    def __init__(self, intervals: Iterable[Interval]) -> None:
        by_contig: dict[str, list[tuple[int, int]]] = {}
        for contig, start, end in intervals:
            by_contig.setdefault(contig, []).append((start, end))
        self._merged = {contig: _merged(items) for contig, items in by_contig.items()}

    def overlaps(self, contig: str, start: int, end: int) -> bool:
        """Whether the interval shares a base with the union."""
        if contig not in self._merged:
            return False
        starts, ends = self._merged[contig]
        place = int(np.searchsorted(starts, end))
        return place > 0 and bool(ends[place - 1] > start)


def _merged(intervals: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    merged: list[list[int]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    table = np.array(merged, dtype=np.int64)
    return table[:, 0], table[:, 1]


def on_genome(regions: dict[str, list[Interval]], genome: Genome, where: Path) -> dict[str, list[Interval]]:
    """The regions with contigs as the genome names them; none on any of its contigs raises `InputError`."""
    names = {contig for intervals in regions.values() for contig, _, _ in intervals}
    own = {name: match_contig(name, genome) for name in names}
    if not any(own.values()):
        raise InputError(
            where=str(where),
            expected=f"regions on contigs of the genome ({', '.join(genome.contigs[:3])} …)",
            found=f"none ({', '.join(sorted(names)[:3])} …)",
            fix="Give regions of the same assembly.",
        )
    return {
        name: [(own[contig], start, end) for contig, start, end in intervals if own[contig]]
        for name, intervals in regions.items()
    }


def read_bed(path: Path) -> dict[str, list[Interval]]:
    """Intervals by the name in column four (https://samtools.github.io/hts-specs/BEDv1.pdf).

    A row without four columns or with an empty interval raises `InputError` with its line.
    """
    regions: dict[str, list[Interval]] = {}
    lines = b"".join(read_blocks(path)).decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith(("#", "track", "browser")):
            continue
        fields = line.split("\t")
        numbers = [int(item) if item.isascii() and item.isdigit() else -1 for item in fields[1:3]]
        if len(fields) < 4 or not 0 <= numbers[0] < numbers[1]:
            raise InputError(
                where=f"{path}, line {number:,}",
                expected="contig, start, end and name, tab-separated, start below end",
                found=repr(line[:60]),
                fix="Correct the BED file of regions.",
            )
        regions.setdefault(fields[3].strip(), []).append((fields[0], numbers[0], numbers[1]))
    return regions
