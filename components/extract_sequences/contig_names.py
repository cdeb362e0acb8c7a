"""Contigs of the annotation found in the genome, whatever the naming: `chr1`, `1`, or RefSeq's `NC_000001.11`."""

from __future__ import annotations

import re

from components.extract_sequences.pieces import Annotation
from components.sequences import Genome
from model.errors import InputError

MITOCHONDRIAL = frozenset(("chrM", "MT", "chrMT", "M", "NC_012920.1"))
_REFSEQ_CHROMOSOME = re.compile(r"NC_0000(\d\d)\.\d+")
_REFSEQ_NAMES = {"23": "X", "24": "Y"}


def match_contigs(annotation: Annotation, genome: Genome) -> list[str]:
    """The genome's name of each transcript's contig, empty where it has none; none at all raises `InputError`."""
    found = {name: match_contig(name, genome) for name in dict.fromkeys(annotation.contig)}
    if not any(found.values()):
        raise InputError(
            where=str(annotation.path),
            expected=f"contigs of the genome ({', '.join(genome.contigs[:3])} …)",
            found=f"none of them ({', '.join(list(found)[:3])} …)",
            fix="Give an annotation and a genome of the same assembly.",
        )
    return [found[name] for name in annotation.contig]


def match_contig(name: str, genome: Genome) -> str:
    """The genome's name of a contig, empty where it has none."""
    if name in genome:
        return name
    if name in MITOCHONDRIAL:
        return next((other for other in genome.contigs if other in MITOCHONDRIAL), "")
    plain = _plain(name)
    return next((other for other in genome.contigs if _plain(other) == plain), "")


def _plain(name: str) -> str:
    refseq = _REFSEQ_CHROMOSOME.fullmatch(name)
    if refseq:
        number = refseq.group(1)
        return _REFSEQ_NAMES.get(number, number.lstrip("0"))
    return name.removeprefix("chr")
