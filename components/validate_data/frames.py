"""What raw files hold, as the frames that checks are asked of; the readers are those that extraction uses."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from components.extract_sequences.annotation import Annotation


def genome_frame(fasta: Path, scratch: Path) -> pd.DataFrame:
    """One row per contig: contig, length_bp, gc_share (of known bases), unknown_share."""
    import pandas as pd

    from components.extract_sequences.fasta import write_genome
    from components.sequences import CODE_N, Genome

    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        target = Path(folder) / "genome.safetensors"
        write_genome(fasta, target)
        genome = Genome.open(target)
        counts = np.array([np.bincount(genome.codes(name), minlength=CODE_N + 1) for name in genome.contigs])
    length, known = counts.sum(axis=1), counts[:, :CODE_N].sum(axis=1)
    return pd.DataFrame(
        {
            "contig": genome.contigs,
            "length_bp": length,
            "gc_share": counts[:, 1:3].sum(axis=1) / np.maximum(known, 1),
            "unknown_share": counts[:, CODE_N] / np.maximum(length, 1),
        }
    )


def transcript_frame(annotation: Annotation, contig_bp: Mapping[str, int] | None) -> pd.DataFrame:
    """One row per annotated transcript; what concerns the genome is left open where `contig_bp` is None."""
    import pandas as pd

    exons = annotation.exons
    owner = np.repeat(np.arange(len(annotation)), exons.counts)
    overlap = (owner[1:] == owner[:-1]) & (exons.start[1:] < exons.end[:-1])
    last_bp = np.zeros(len(annotation), dtype=np.int64)
    np.maximum.at(last_bp, owner, exons.end)
    columns: dict[str, Any] = {
        "transcript_id": [name.transcript_id for name in annotation.naming],
        "gene_id": [name.gene_id or None for name in annotation.naming],
        "line": annotation.line,
        "contig": annotation.contig,
        "strand": annotation.strand,
        "exons": exons.counts,
        "rna_bp": np.bincount(owner, weights=exons.end - exons.start, minlength=len(annotation)).astype(np.int64),
        "overlapping_exons": np.bincount(owner[1:][overlap], minlength=len(annotation)),
        "cds_outside_exons": _cds_outside_exons(annotation, bool(overlap.any())),
    }
    if contig_bp is not None:
        length = np.array([contig_bp.get(name, -1) for name in annotation.contig], dtype=np.int64)
        columns["contig_known"] = length >= 0
        columns["past_contig_bp"] = np.where(length >= 0, np.maximum(last_bp - length, 0), 0)
    return pd.DataFrame(columns)


def _cds_outside_exons(annotation: Annotation, overlapping: bool) -> np.ndarray:
    """Whether some CDS base of each transcript is in no exon; not told where exons overlap, which blocks anyway."""
    from components.extract_sequences.geometry import measure

    return np.zeros(len(annotation), dtype=bool) if overlapping else measure(annotation).outside
