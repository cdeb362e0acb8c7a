"""The annotation of simulated genes as GENCODE-style GTF (https://www.gencodegenes.org/pages/data_format.html)."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path

from components.fabricate.contigs import PlacedGene
from components.fabricate.gene_model import Interval, Isoform

_HEADER = (
    "##description: SIMULATED annotation of a simulated genome; no gene in it exists\n"
    "##provider: isoformer fabricate\n##format: gtf\n"
)


def write_annotation(path: Path, genes: Iterable[PlacedGene]) -> None:
    """Write genes as gzipped GTF: gene, transcript, exon, CDS, codons, UTR and Selenocysteine rows."""
    rows = [_HEADER]
    for placed in genes:
        rows.extend(_gene_rows(placed))
    path.write_bytes(gzip.compress("".join(rows).encode("ascii"), compresslevel=6, mtime=0))


def gene_name(placed: PlacedGene) -> str:
    """SIM<number>, with GENCODE's MT- before it on the mitochondrial contig."""
    return f"{'MT-' if placed.contig == 'chrM' else ''}SIM{placed.number}"


def spliced_spans(isoform: Isoform, start: int, end: int) -> list[tuple[int, Interval, int]]:
    """Where offsets [start, end) of the spliced RNA lie: (exon index, sense interval, offset of its first base)."""
    spans = []
    offset = 0
    for index, (first, last) in enumerate(isoform.exons):
        low, high = max(start, offset), min(end, offset + last - first)
        if low < high:
            spans.append((index, (first + low - offset, first + high - offset), low))
        offset += last - first
    return spans


def _gene_rows(placed: PlacedGene) -> Iterator[str]:
    gene = placed.gene
    firsts = [isoform.exons[0][0] for isoform in gene.isoforms]
    lasts = [isoform.exons[-1][1] for isoform in gene.isoforms]
    ids = f'gene_id "{placed.gene_id}"; '
    names = f'gene_type "{gene.gene_type}"; gene_name "{gene_name(placed)}"; '
    yield _row(placed, "gene", (min(firsts), max(lasts)), ".", f"{ids}{names}level 2;")
    for index, isoform in enumerate(gene.isoforms):
        attributes = (
            f'{ids}transcript_id "{placed.transcript_id(index)}"; {names}'
            f'transcript_type "{gene.gene_type}"; transcript_name "{gene_name(placed)}-{201 + index}"; '
        )
        tags = "".join(f' tag "{tag}";' for tag in isoform.tags)
        protein = f' protein_id "SIMP{placed.transcript_id(index)[4:]}";' if isoform.cds else ""
        yield from _transcript_rows(
            placed, isoform, attributes, f'level 2;{protein} transcript_support_level "1";{tags}'
        )


def _transcript_rows(placed: PlacedGene, isoform: Isoform, attributes: str, ending: str) -> Iterator[str]:
    whole = (isoform.exons[0][0], isoform.exons[-1][1])
    yield _row(placed, "transcript", whole, ".", attributes + ending)
    for index, exon in enumerate(isoform.exons):
        yield _row(placed, "exon", exon, ".", f"{attributes}exon_number {index + 1}; {ending}")
    if isoform.cds is None:
        return
    length = sum(end - start for start, end in isoform.exons)
    start, end = isoform.cds
    stop_nt = 0 if "cds_end_NF" in isoform.tags else 3
    features = [("CDS", start, end - stop_nt), ("UTR", 0, start), ("UTR", end - stop_nt, length)]
    if "cds_start_NF" not in isoform.tags:
        features.append(("start_codon", start, start + 3))
    if stop_nt:
        features.append(("stop_codon", end - 3, end))
    for feature, first, last in features:
        for index, span, offset in spliced_spans(isoform, first, last):
            # Bases of this piece before its first whole codon.
            frame = "." if feature == "UTR" else str((isoform.cds_phase + start - offset) % 3)
            yield _row(placed, feature, span, frame, f"{attributes}exon_number {index + 1}; {ending}")
    if isoform.selenocysteine is not None:
        for _, span, _ in spliced_spans(isoform, isoform.selenocysteine, isoform.selenocysteine + 3):
            yield _row(placed, "Selenocysteine", span, ".", attributes + ending)


def _row(placed: PlacedGene, feature: str, span: Interval, frame: str, attributes: str) -> str:
    start, end = placed.genomic(span)
    return f"{placed.contig}\tSIMULATED\t{feature}\t{start + 1}\t{end}\t.\t{placed.strand}\t{frame}\t{attributes}\n"
