"""Readers of a fabricated folder that share no code with what wrote it."""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from components.params import Params, load_params

SMALL = ("fabricate.transcripts=400", "fabricate.contigs=3")
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def small_params(*overrides: str) -> Params:
    """Parameters of a fabrication that takes a fraction of a second."""
    return load_params(None, overrides=[*SMALL, *overrides])


@dataclass
class Transcript:
    """One transcript as the GTF tells it: features as 1-based closed intervals in file order."""

    gene_id: str
    contig: str
    strand: str
    gene_type: str
    tags: list[str]
    features: dict[str, list[tuple[int, int, str]]] = field(default_factory=lambda: defaultdict(list))

    @property
    def tss(self) -> int:
        """1-based position of the first transcribed base."""
        start, end, _ = self.features["transcript"][0]
        return start if self.strand == "+" else end


@dataclass
class Raw:
    """A fabricated folder, read."""

    folder: Path
    genome: dict[str, str]
    transcripts: dict[str, Transcript]
    genes: dict[str, tuple[str, int, int, str]]
    truth: dict[str, Any]

    def bases(self, contig: str, start: int, end: int, strand: str) -> str:
        """Sense bases of a 1-based closed interval."""
        text = self.genome[contig][start - 1 : end]
        return text if strand == "+" else text.translate(COMPLEMENT)[::-1]

    def spliced(self, transcript: Transcript, feature: str) -> str:
        """The bases of all pieces of a feature, 5' to 3'."""
        pieces = sorted(transcript.features[feature], reverse=transcript.strand == "-")
        return "".join(self.bases(transcript.contig, start, end, transcript.strand) for start, end, _ in pieces)

    def table(self, name: str) -> list[dict[str, str]]:
        """Rows of one of the tab-separated truth tables."""
        header, *rows = (self.folder / name).read_text().splitlines()
        return [dict(zip(header.split("\t"), row.split("\t"), strict=True)) for row in rows]

    def expression(self) -> tuple[list[str], list[str], np.ndarray]:
        """Transcript ids, sample ids and TPM of the GCT."""
        lines = gzip.decompress((self.folder / "transcript_tpm.gct.gz").read_bytes()).decode().splitlines()
        assert lines[0] == "#1.2"
        rows = [line.split("\t") for line in lines[3:]]
        values = np.array([row[2:] for row in rows], dtype=float)
        assert lines[1] == f"{values.shape[0]}\t{values.shape[1]}"
        return [row[0] for row in rows], lines[2].split("\t")[2:], values


def read_raw(folder: Path) -> Raw:
    """Read genome, annotation and truth of a fabricated folder."""
    genome: dict[str, str] = {}
    for record in gzip.decompress((folder / "genome.fa.gz").read_bytes()).decode().split(">")[1:]:
        name, *lines = record.split("\n")
        genome[name] = "".join(lines).upper()
    transcripts: dict[str, Transcript] = {}
    genes = {}
    for line in gzip.decompress((folder / "annotation.gtf.gz").read_bytes()).decode().splitlines():
        if line.startswith("#"):
            continue
        contig, _, feature, start, end, _, strand, frame, text = line.split("\t")
        keys = dict(re.findall(r'(\w+) "([^"]*)"', text))
        if feature == "gene":
            genes[keys["gene_id"]] = (contig, int(start), int(end), strand)
            continue
        if feature == "transcript":
            tags = re.findall(r'tag "([^"]*)"', text)
            transcripts[keys["transcript_id"]] = Transcript(keys["gene_id"], contig, strand, keys["gene_type"], tags)
        transcripts[keys["transcript_id"]].features[feature].append((int(start), int(end), frame))
    return Raw(folder, genome, transcripts, genes, json.loads((folder / "truth.json").read_text()))
