"""Lengths and TSSs of real transcripts for benchmarks: read from an annotation, or drawn with the same quantiles."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.batch import TranscriptInput
from model.planning import PROTEIN_QUANTILES, RNA_QUANTILES_NT, TRANSCRIPTS_PER_TSS

BASES, RESIDUES = "ACGT", "ACDEFGHIKLMNPQRSTVWY"
DEFAULT_ANNOTATION = Path(__file__).parents[2] / "shared" / "data" / "annotation" / "demo.gtf.gz"


@dataclass(frozen=True, kw_only=True)
class AnnotatedLengths:
    """N coding transcripts: spliced RNA (nt), protein (residues), and a number per distinct TSS; `source` in words."""

    rna_nt: np.ndarray
    residues: np.ndarray
    tss: np.ndarray
    source: str

    def draw(self, count: int, seed: int = 0) -> AnnotatedLengths:
        """`count` transcripts at random, without replacement."""
        chosen = np.random.default_rng(seed).permutation(len(self.tss))[:count]
        return AnnotatedLengths(
            rna_nt=self.rna_nt[chosen], residues=self.residues[chosen], tss=self.tss[chosen], source=self.source
        )

    def transcripts(self, window_bp: int | None, seed: int = 0) -> list[TranscriptInput]:
        """Random sequences of these lengths; transcripts of one TSS get one DNA window (None: no DNA)."""
        rng = np.random.default_rng(seed)
        windows = {
            int(tss): rng.integers(0, 4, window_bp).astype(np.uint8) if window_bp else None
            for tss in np.unique(self.tss)
        }
        return [
            TranscriptInput(
                dna=windows[int(tss)],
                rna="".join(rng.choice(list(BASES), rna_nt)),
                protein="".join(rng.choice(list(RESIDUES), residues)),
            )
            for rna_nt, residues, tss in zip(self.rna_nt, self.residues, self.tss, strict=True)
        ]


def add_option(parser: argparse.ArgumentParser) -> None:
    """`--annotation`."""
    parser.add_argument(
        "--annotation",
        type=Path,
        default=DEFAULT_ANNOTATION,
        help="GTF or GFF3 whose coding transcripts give lengths and TSSs; drawn from recorded quantiles if absent",
    )


def read_lengths(path: Path, seed: int = 0) -> AnnotatedLengths:
    """Coding transcripts of the annotation at `path`, or 1,000 simulated ones where there is no such file."""
    if not path.is_file():
        rng = np.random.default_rng(seed)
        # One rank for both: long RNAs hold long proteins.
        rank = np.linspace(0, 1, 11)
        at = rng.random(1000)
        return AnnotatedLengths(
            rna_nt=np.exp(np.interp(at, rank, np.log(RNA_QUANTILES_NT))).astype(np.int64),
            residues=np.exp(np.interp(at, rank, np.log(PROTEIN_QUANTILES))).astype(np.int64),
            tss=rng.integers(0, round(1000 / TRANSCRIPTS_PER_TSS), 1000),
            source="1,000 SIMULATED transcripts with the recorded quantiles of real ones",
        )
    from components.extract_sequences.annotation import read_annotation
    from components.extract_sequences.geometry import measure

    annotation = read_annotation(path)
    geometry = measure(annotation)
    coding = np.flatnonzero(geometry.cds_end > 0)
    first, last = annotation.exons.offsets[:-1], annotation.exons.offsets[1:]
    sites: dict[tuple[str, str, int], int] = {}
    tss = []
    for row in coding:
        exons = slice(int(first[row]), int(last[row]))
        plus = annotation.strand[row] == "+"
        place = int(annotation.exons.start[exons].min() if plus else annotation.exons.end[exons].max())
        tss.append(sites.setdefault((annotation.contig[row], annotation.strand[row], place), len(sites)))
    return AnnotatedLengths(
        rna_nt=geometry.rna_length[coding],
        residues=np.maximum(1, (geometry.cds_end - geometry.cds_start)[coding] // 3),
        tss=np.array(tss),
        source=f"{len(coding):,} coding transcripts of {path.name}, {len(sites):,} distinct TSSs",
    )
