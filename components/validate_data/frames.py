"""What raw files hold, as the frames that checks are asked of; the readers are those that extraction uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.sequences import CODE_N, Genome

if TYPE_CHECKING:
    import pandas as pd

    from components.extract_sequences.annotation import Annotation
    from components.extract_sequences.expression import Expression
    from components.extract_sequences.samples import SampleTissues
    from model.errors import InputError

READABLE = "none"


def file_frame(inputs: Sequence[str], problems: Mapping[str, InputError]) -> pd.DataFrame:
    """One row per input: its name, and what made it unreadable or `READABLE`; problems of no one input follow."""
    import pandas as pd

    names = [*inputs, *(name for name in problems if name not in inputs)]
    return pd.DataFrame({"input": names, "problem": [str(problems.get(name, READABLE)) for name in names]})


def contig_frame(genome: Genome) -> pd.DataFrame:
    """One row per contig: contig, length_bp, gc_share (of known bases), unknown_share."""
    import pandas as pd

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


def transcript_frame(annotation: Annotation, contig_bp: np.ndarray | None) -> pd.DataFrame:
    """One row per annotated transcript, `contig_bp` (T,) the length of its contig, −1 where the genome has none.

    Where `contig_bp` is None, the genome is not known and what concerns it is left out.
    """
    import pandas as pd

    exons = annotation.exons
    owner = np.repeat(np.arange(len(annotation)), exons.counts)
    overlap = (owner[1:] == owner[:-1]) & (exons.start[1:] < exons.end[:-1])
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
        last_bp = np.zeros(len(annotation), dtype=np.int64)
        np.maximum.at(last_bp, owner, exons.end)
        columns["contig_known"] = contig_bp >= 0
        columns["past_contig_bp"] = np.where(contig_bp >= 0, np.maximum(last_bp - contig_bp, 0), 0)
    return pd.DataFrame(columns)


def _cds_outside_exons(annotation: Annotation, overlapping: bool) -> np.ndarray:
    """Whether some CDS base of each transcript is in no exon; not told where exons overlap, which blocks anyway."""
    from components.extract_sequences.geometry import measure

    return np.zeros(len(annotation), dtype=bool) if overlapping else measure(annotation).outside


def expression_frame(expression: Expression, annotated: np.ndarray | None) -> pd.DataFrame:
    """One row per row of the expression table; `annotated` (R,) is left out where the annotation is not known."""
    import pandas as pd

    columns: dict[str, Any] = {
        "transcript_id": expression.transcript_ids,
        "line": expression.line,
        "not_finite": (~np.isfinite(expression.mean_tpm)).sum(axis=1),
        "lowest_tpm": expression.mean_tpm.min(axis=1),
        "highest_tpm": expression.mean_tpm.max(axis=1),
    }
    if annotated is not None:
        columns["annotated"] = annotated
    return pd.DataFrame(columns)


def sample_frame(expression: Expression) -> pd.DataFrame:
    """One row per sample of the expression table: sample_id, tissue (None where it is none of the wanted), tpm_sum."""
    import pandas as pd

    tissues = [expression.tissues[index] if index >= 0 else None for index in expression.columns.tissue_of.tolist()]
    return pd.DataFrame({"sample_id": expression.samples, "tissue": tissues, "tpm_sum": expression.tpm_sums})


def attribute_frame(attributes: SampleTissues) -> pd.DataFrame:
    """One row per RNA-seq sample of the attributes: sample_id, tissue (None where blank), line."""
    import pandas as pd

    return pd.DataFrame(
        {
            "sample_id": [sample or None for sample in attributes.tissue],
            "tissue": [tissue or None for tissue in attributes.tissue.values()],
            "line": list(attributes.line.values()),
        }
    )


def tissue_frame(expression: Expression) -> pd.DataFrame:
    """One row per tissue: tissue, samples."""
    import pandas as pd

    counts = expression.columns.samples_per_tissue
    return pd.DataFrame({"tissue": list(counts), "samples": list(counts.values())})
