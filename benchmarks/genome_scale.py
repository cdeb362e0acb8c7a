"""Raw files as large as GENCODE's for the benchmarks: a random genome with genes like real ones in number and shape.

Rows, attributes, exons per transcript and lengths follow GENCODE; introns are short, so that the genome stays small.
Coding sequences run from ATG to a stop without another stop between, as a tool expects of a real annotation.
"""

from __future__ import annotations

import gzip
import multiprocessing
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

GENCODE_GENES, GENCODE_TRANSCRIPTS = 62_000, 252_000
_CONTIGS = 24
_LINE_BASES = 60
_BASES = np.frombuffer(b"ACGT", dtype=np.uint8)
# Coding genes have more isoforms and exons than others; the means over all are GENCODE's 4.1 and 6.4.
_CODING_SHARE = 0.33
_INTRON_BP = (80, 900)
_SPACER_BP = (200, 2_000)
_COMPRESSION = 6


@dataclass(frozen=True)
class RawFiles:
    """The fabricated files and what is in them."""

    genome: Path
    annotation: Path
    genes: int
    transcripts: int
    genome_bp: int

    @property
    def title(self) -> str:
        """Its size, in words."""
        text = sum(path.stat().st_size for path in (self.genome, self.annotation)) / 1e6
        return f"{self.genes:,} genes, {self.transcripts:,} transcripts, genome of {self.genome_bp:,} bp, {text:.0f} MB"


@dataclass(frozen=True)
class _Exon:
    """An exon in the gene's sense coordinates; `coding` exons have whole codons only."""

    start: int
    end: int


def fabricate(folder: Path, transcripts: int, seed: int = 0) -> RawFiles:
    """Write genome.fa.gz and annotation.gtf.gz below `folder` with about so many transcripts, unless they are there."""
    genes = max(_CONTIGS, round(transcripts * GENCODE_GENES / GENCODE_TRANSCRIPTS))
    place = folder / f"genome-{transcripts}-{seed}"
    facts = place / "facts.txt"
    if not facts.exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        shares = np.linspace(1.0, 0.25, _CONTIGS)
        counts = np.maximum(1, np.floor(genes * shares / shares.sum())).astype(int)
        jobs = [(place, f"chr{index + 1}", int(count), seed) for index, count in enumerate(counts)]
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            made = pool.starmap(_contig, jobs, chunksize=1)
        for kind, name in (("fa", "genome.fa.gz"), ("gtf", "annotation.gtf.gz")):
            with (place / name).open("wb") as target:
                for _, contig, _, _ in jobs:
                    part = place / f"{contig}.{kind}.gz"
                    target.write(part.read_bytes())
                    part.unlink()
        sums = [sum(column) for column in zip(*made, strict=True)]
        facts.write_text(" ".join(map(str, sums)))
    genes, transcripts, genome_bp = map(int, facts.read_text().split())
    return RawFiles(place / "genome.fa.gz", place / "annotation.gtf.gz", genes, transcripts, genome_bp)


def _contig(folder: Path, name: str, genes: int, seed: int) -> tuple[int, int, int]:
    """Write one contig and its annotation as gzip members; returns genes, transcripts, bases."""
    rng = np.random.default_rng([seed, int(name[3:])])
    rows: list[str] = []
    pieces = [np.full(10_000, ord("N"), dtype=np.uint8)]
    cursor, transcripts = 10_000, 0
    for index in range(genes):
        spacer = _BASES[rng.integers(0, 4, int(rng.integers(*_SPACER_BP)))]
        gene = _Gene(rng, f"{int(name[3:]):02d}{index:06d}")
        strand = "+-"[int(rng.integers(2))]
        pieces += [spacer, gene.letters if strand == "+" else _reverse_complement(gene.letters)]
        cursor += len(spacer)
        rows.extend(gene.rows(name, cursor, strand))
        cursor += len(gene.letters)
        transcripts += len(gene.isoforms)
    pieces.append(np.full(10_000, ord("N"), dtype=np.uint8))
    letters = np.concatenate(pieces)
    fasta = b">" + name.encode() + b" fabricated\n" + _lines(letters)
    (folder / f"{name}.fa.gz").write_bytes(gzip.compress(fasta, 1, mtime=0))
    (folder / f"{name}.gtf.gz").write_bytes(gzip.compress("".join(rows).encode(), _COMPRESSION, mtime=0))
    return genes, transcripts, len(letters)


class _Gene:
    """A gene in its own sense coordinates: letters, exons, and isoforms as (exons, coding interval or None)."""

    def __init__(self, rng: np.random.Generator, number: str) -> None:
        self.coding = bool(rng.random() < _CODING_SHARE)
        self.number = number
        count = 1 + int(rng.geometric(0.12)) if self.coding else int(rng.geometric(0.4))
        self.isoforms: list[tuple[list[_Exon], tuple[int, int, int] | None]] = []
        exons: list[_Exon] = []
        at = 20
        for index in range(count):
            codons = (60, 420) if index in (0, count - 1) else (25, 75)
            length = 3 * int(rng.integers(*codons))
            exons.append(_Exon(at, at + length))
            at += length + int(rng.integers(*_INTRON_BP))
        self.letters = _BASES[rng.integers(0, 4, exons[-1].end + 20)]
        self.exons = exons
        start, stop = self._code_region(rng)
        if self.coding:
            self._plant(start, stop)
        isoforms = 1 + int(rng.geometric(0.115)) if self.coding else int(rng.geometric(0.62))
        for number_of_isoform in range(isoforms):
            self.isoforms.append(self._isoform(rng, start, stop, number_of_isoform))

    def _code_region(self, rng: np.random.Generator) -> tuple[int, int]:
        """Sense places of the start codon, in the first exon, and of the stop codon, in the last one."""
        first, last = self.exons[0], self.exons[-1]
        start = first.start + 3 * int(rng.integers(15, (first.end - first.start) // 6))
        stop = last.start + 3 * int(rng.integers((last.end - last.start) // 6 + 12, (last.end - last.start) // 3 - 10))
        return start, stop

    def _plant(self, start: int, stop: int) -> None:
        """Replace stop codons in the frame by others; write the start and the stop."""
        for exon in self.exons:
            codons = self.letters[exon.start : exon.end].reshape(-1, 3)
            is_stop = (codons[:, 0] == ord("T")) & np.isin(codons[:, 1], (ord("A"), ord("G")))
            codons[is_stop, 0] = ord("C")
        self.letters[start : start + 3] = np.frombuffer(b"ATG", dtype=np.uint8)
        self.letters[stop : stop + 3] = np.frombuffer(b"TAA", dtype=np.uint8)

    def _isoform(
        self, rng: np.random.Generator, start: int, stop: int, number: int
    ) -> tuple[list[_Exon], tuple[int, int, int] | None]:
        """Exons of an isoform, and its coding interval with the phase; a third of those of coding genes have none."""
        inner = [exon for exon in self.exons[1:-1] if rng.random() < 0.9]
        exons = [self.exons[0], *inner, *self.exons[1:][-1:]]
        first, last = exons[0], exons[-1]
        moved = int(rng.integers(0, start - first.start - 10)) if number else 0
        end = last.end - (int(rng.integers(0, last.end - stop - 5)) if number else 0)
        if len(exons) == 1:
            return [_Exon(first.start + moved, max(end, first.start + moved + 30))], None
        exons[0], exons[-1] = _Exon(first.start + moved, first.end), _Exon(last.start, end)
        if not self.coding or (number and rng.random() < 0.36):
            return exons, None
        if number and rng.random() < 0.12:  # known from within the coding sequence on
            cut = start + 3 + int(rng.integers(0, first.end - start - 9))
            exons[0] = _Exon(cut, first.end)
            return exons, (cut, stop, (start - cut) % 3)
        return exons, (start, stop, 0)

    def rows(self, contig: str, offset: int, strand: str) -> Iterator[str]:
        """GTF rows as GENCODE writes them."""
        kind = "protein_coding" if self.coding else "lncRNA"
        gene_id, name = f"SIMG{self.number:0>11}.2", f"SIM{int(self.number)}"

        def row(feature: str, start: int, end: int, frame: str, attributes: str) -> str:
            low, high = (start, end) if strand == "+" else (len(self.letters) - end, len(self.letters) - start)
            place = f"{offset + low + 1}\t{offset + high}\t.\t{strand}\t{frame}"
            return f"{contig}\tHAVANA\t{feature}\t{place}\t{attributes}\n"

        head = f'gene_id "{gene_id}"; '
        names = f'gene_type "{kind}"; gene_name "{name}"; '
        tail = f'level 2; hgnc_id "HGNC:{int(self.number) % 50_000}"; havana_gene "OTTSIMG{self.number:0>11}.1";'
        span = min(e[0].start for e, _ in self.isoforms), max(e[-1].end for e, _ in self.isoforms)
        yield row("gene", *span, ".", head + names + tail)
        for index, (exons, coding) in enumerate(self.isoforms):
            identifier = f"SIMT{self.number:0>8}{index + 1:03d}.1"
            protein = f' protein_id "SIMP{identifier[4:]}";' if coding else ""
            tags = ' tag "basic"; tag "Ensembl_canonical"; tag "MANE_Select"; tag "appris_principal_1";'
            tags = tags if index == 0 else ' tag "basic";'
            if coding and coding[0] == exons[0].start:
                tags += ' tag "mRNA_start_NF"; tag "cds_start_NF";'
            shared = (
                f'{head}transcript_id "{identifier}"; {names}transcript_type "{kind if coding else "lncRNA"}"; '
                f'transcript_name "{name}-{201 + index}"; '
            )
            ending = f'level 2;{protein} transcript_support_level "1"; {tail[9:]}{tags}'
            yield row("transcript", exons[0].start, exons[-1].end, ".", shared + ending)
            for number, exon in enumerate(exons, start=1):
                where = f'{shared}exon_number {number}; exon_id "SIME{self.number}{number:03d}.1"; {ending}'
                yield row("exon", exon.start, exon.end, ".", where)
                if coding is None:
                    continue
                start, stop, phase = coding
                low, high = max(exon.start, start), min(exon.end, stop)
                if low < high:
                    frame = phase if low == start else 0
                    yield row("CDS", low, high, str(frame), where)
                if low == start and start != exons[0].start:
                    yield row("start_codon", start, start + 3, "0", where)
                    yield row("UTR", exon.start, start, ".", where)
                if exon.start <= stop < exon.end:
                    yield row("stop_codon", stop, stop + 3, "0", where)
                    yield row("UTR", stop, exon.end, ".", where)


def _reverse_complement(letters: np.ndarray) -> np.ndarray:
    table = np.zeros(256, dtype=np.uint8)
    table[_BASES] = _BASES[::-1]
    return table[letters[::-1]]


def _lines(letters: np.ndarray) -> bytes:
    whole = len(letters) - len(letters) % _LINE_BASES
    rows = np.full((whole // _LINE_BASES, _LINE_BASES + 1), ord("\n"), dtype=np.uint8)
    rows[:, :_LINE_BASES] = letters[:whole].reshape(-1, _LINE_BASES)
    return rows.tobytes() + letters[whole:].tobytes() + b"\n"
