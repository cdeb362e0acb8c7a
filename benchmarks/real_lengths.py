"""Lengths and start sites of real transcripts: what decides the speed of a step. Sequences are random."""

from __future__ import annotations

import gzip
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.batch import PackedBatch, TranscriptInput, collate
from model.config import IsoFormerConfig

ANNOTATION = Path(__file__).parents[2] / "shared" / "data" / "annotation" / "demo.gtf.gz"


@dataclass(frozen=True)
class Lengths:
    """N coding transcripts: RNA in nucleotides, protein in residues, and int64 keys of (contig, strand, TSS)."""

    rna: np.ndarray
    protein: np.ndarray
    start_site: np.ndarray
    source: str


def read_lengths(path: Path = ANNOTATION) -> Lengths:
    """Of the annotation's coding transcripts; drawn at random, and said so, where there is no annotation."""
    if not path.is_file():
        rng = np.random.default_rng(0)
        count = 552
        rna = np.exp(rng.normal(7.6, 0.8, count)).astype(int) + 200
        protein = np.minimum(rna // 3 - 20, np.exp(rng.normal(5.8, 0.7, count)).astype(int) + 30)
        return Lengths(rna, protein, rng.integers(0, int(count / 1.18), count), "drawn: no annotation at hand")
    spans: dict[str, dict[str, list[tuple[int, int]]]] = defaultdict(lambda: {"exon": [], "CDS": []})
    place: dict[str, tuple[str, str]] = {}
    with gzip.open(path, "rt") as lines:
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            if line.startswith("#") or fields[2] not in ("exon", "CDS"):
                continue
            found = re.search(r'transcript_id "([^"]+)"', fields[8])
            assert found is not None
            spans[found[1]][fields[2]].append((int(fields[3]), int(fields[4])))
            place[found[1]] = (fields[0], fields[6])
    coding = [name for name, parts in spans.items() if parts["CDS"]]
    sites = [
        (*place[name], min(spans[name]["exon"])[0] if place[name][1] == "+" else max(e for _, e in spans[name]["exon"]))
        for name in coding
    ]
    number = {site: index for index, site in enumerate(dict.fromkeys(sites))}

    def total(name: str, kind: str) -> int:
        return sum(end - start + 1 for start, end in spans[name][kind])

    return Lengths(
        rna=np.array([total(name, "exon") for name in coding]),
        protein=np.array([total(name, "CDS") // 3 for name in coding]),
        start_site=np.array([number[site] for site in sites]),
        source=f"{len(coding)} coding transcripts of {path.name} on {len(number)} start sites",
    )


def random_batch(lengths: Lengths, rows: np.ndarray, sites: np.ndarray, config: IsoFormerConfig) -> PackedBatch:
    """A packed batch with the lengths of `rows`, and random DNA per site in `sites` (len(rows),)."""
    rng = np.random.default_rng(0)
    dna = {site: rng.integers(0, 4, config.window_bp, dtype=np.uint8) for site in np.unique(sites).tolist()}

    def letters(alphabet: str, count: int) -> str:
        return "".join(rng.choice(list(alphabet), count))

    # The longest that a tower reads; what is longer would be cropped.
    most_rna, most_protein = 6 * 2047, 2046
    inputs = [
        TranscriptInput(
            dna=dna[site],
            rna=letters("ACGT", min(int(lengths.rna[row]), most_rna)),
            protein=letters("ACDEFGHIKLMNPQRSTVWY", min(max(1, int(lengths.protein[row])), most_protein)),
        )
        for row, site in zip(rows.tolist(), sites.tolist(), strict=True)
    ]
    return collate(inputs, config)
