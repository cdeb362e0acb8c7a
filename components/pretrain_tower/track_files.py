"""Tracks along the genome from BED and bedGraph files, averaged over the bins that an encoder's positions stand for."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from model.errors import InputError

_BED, _BEDGRAPH, _BIGWIG = (".bed",), (".bedgraph", ".bdg", ".bg"), (".bw", ".bigwig")
_COMMENTS = ("#", "track", "browser")


def read_track(path: Path, lengths: Mapping[str, int], bin_bp: int) -> dict[str, np.ndarray]:
    """Mean value of a track in each whole bin of each contig: float32 (length // bin_bp,) by contig.

    `lengths`: of the genome's contigs; intervals on others are refused. An interval of a BED file has value 1, one of
    a bedGraph its fourth column; where intervals overlap, values add up. Raises `InputError` naming the line.
    """
    has_value = _has_value(path)
    places: dict[str, list[tuple[int, int, float]]] = {}
    for number, fields in _rows(path):
        contig, interval = _interval(path, number, fields, lengths, has_value)
        places.setdefault(contig, []).append(interval)
    if not places:
        raise InputError(where=str(path), expected="intervals", found="none", fix="Give a BED or bedGraph file.")
    return {contig: _bin_means(places.get(contig, []), length, bin_bp) for contig, length in lengths.items()}


def _has_value(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(_BIGWIG):
        raise InputError(
            where=str(path),
            expected="a track as BED or bedGraph",
            found="a bigWig file, which this project has no reader for",
            fix=f"Convert it: bigWigToBedGraph {path.name} {path.stem}.bedgraph",
        )
    if not name.endswith(_BED + _BEDGRAPH):
        raise InputError(
            where=str(path),
            expected=f"a name ending in {', '.join((*_BED, *_BEDGRAPH))} (or that and .gz)",
            found=path.name,
            fix="Rename the file by what it holds.",
        )
    return name.endswith(_BEDGRAPH)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as text:
            for number, line in enumerate(text, start=1):
                if line.strip() and not line.startswith(_COMMENTS):
                    yield number, line.split()
    except FileNotFoundError:
        raise InputError(where=str(path), expected="a track", found="no such file", fix="Correct the path.") from None
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, IsADirectoryError) as error:
        raise InputError(where=str(path), expected="a text file", found=str(error), fix="Give a whole file.") from None


def _interval(
    path: Path, number: int, fields: list[str], lengths: Mapping[str, int], has_value: bool
) -> tuple[str, tuple[int, int, float]]:
    wanted = "contig, start, end, value" if has_value else "contig, start, end"
    try:
        contig, start, end = fields[0], int(fields[1]), int(fields[2])
        value = float(fields[3]) if has_value else 1.0
    except (IndexError, ValueError):
        raise _error(path, number, wanted, " ".join(fields)[:60]) from None
    if contig not in lengths:
        raise _error(path, number, "a contig of the genome", repr(contig))
    if not 0 <= start < end <= lengths[contig]:
        raise _error(path, number, f"0 ≤ start < end ≤ {lengths[contig]:,}, the contig's length", f"{start} to {end}")
    if not (np.isfinite(value) and value >= 0):
        raise _error(path, number, "a finite value, not below 0 (tracks are counts or coverage)", fields[3])
    return contig, (start, end, value)


def _bin_means(intervals: list[tuple[int, int, float]], length: int, bin_bp: int) -> np.ndarray:
    """Exact means over bins: the running integral of the track is linear between the intervals' ends."""
    bins = length // bin_bp
    start, end, value = (
        (np.array(column) for column in zip(*intervals, strict=True)) if intervals else [np.zeros(0)] * 3
    )
    place = np.concatenate([start, end]).astype(np.int64)
    change = np.concatenate([value, -value])
    bin_of = place // bin_bp
    within = np.bincount(bin_of, change * ((bin_of + 1) * bin_bp - place), minlength=bins)[:bins]
    later = np.cumsum(np.bincount(bin_of + 1, change * bin_bp, minlength=bins)[:bins])
    # Rounding may leave what ends exactly at 0 a hair below.
    return np.maximum((within + later) / bin_bp, 0).astype(np.float32)


def _error(path: Path, number: int, expected: str, found: str) -> InputError:
    return InputError(where=f"{path}:{number}", expected=expected, found=found, fix="Correct the file.")
