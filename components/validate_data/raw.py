"""The raw files, read once with the readers that extraction uses, as frames to be checked and figures to be drawn.

A file that cannot be read leaves its frames out and is told as a problem, so that one report shows all problems.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from components.raw_data import RAW_NAMES
from components.sections import ExtractParams
from components.validate_data.frames import (
    attribute_frame,
    contig_frame,
    expression_frame,
    file_frame,
    sample_frame,
    tissue_frame,
    transcript_frame,
)
from model.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from components.extract_sequences.annotation import Annotation
    from components.extract_sequences.expression import Expression

T = TypeVar("T")
# Ids that fabricated data carry, so that nobody takes them for real ones.
SIMULATED_TRANSCRIPT, SIMULATED_SAMPLE = "SIMT", "SYNTX-"


@dataclass
class RawFrames:
    """Frames by name (see suites.KEYS), and what the report draws.

    `problems`: what made a file unreadable, by input name. `tissue_mean`, `tissue_sd`: log1p of the tissue's mean TPM
    over transcripts, (T,). `rna_bp`: spliced lengths (transcripts,). `isoforms_per_gene`: (genes,). `tpm_sums`:
    (samples,). `matches`: transcripts found in both, in the annotation only, in the expression table only.
    """

    frames: dict[str, pd.DataFrame] = field(default_factory=dict)
    problems: dict[str, InputError] = field(default_factory=dict)
    simulated: bool = False
    tissues: list[str] = field(default_factory=list)
    tissue_mean: np.ndarray = field(default_factory=lambda: np.empty(0))
    tissue_sd: np.ndarray = field(default_factory=lambda: np.empty(0))
    rna_bp: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    isoforms_per_gene: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    tpm_sums: np.ndarray = field(default_factory=lambda: np.empty(0))
    matches: dict[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, str]:
        """What the files hold, in words and figures."""
        counts = {}
        for name, words in (
            ("contigs", "contigs"),
            ("transcripts", "annotated transcripts"),
            ("expression", "transcripts with expression"),
            ("samples", "samples"),
            ("tissues", "tissues"),
        ):
            if name in self.frames:
                counts[words] = f"{len(self.frames[name]):,}"
        if len(self.isoforms_per_gene):
            counts["annotated genes"] = f"{len(self.isoforms_per_gene):,}"
        return counts

    def attempt(self, name: str, read: Callable[[], T]) -> T | None:
        """What `read` returns, or None where the file of that name is bad, which is kept as a problem."""
        try:
            return read()
        except InputError as error:
            self.problems[name] = error
            return None


def read_raw(inputs: Mapping[str, Path], extract: ExtractParams, scratch: Path) -> RawFrames:
    """Read the four raw files as `extract` would have extraction read them; `scratch` takes a temporary genome."""
    raw = RawFrames()
    annotation = _read_genome_and_annotation(raw, inputs, scratch)
    expression = _read_expression(raw, inputs, extract)
    if expression is not None:
        matched = np.zeros(len(expression.transcript_ids), dtype=bool)
        if annotation is not None:
            matched = _match(raw, annotation, expression, extract)
        raw.frames["expression"] = expression_frame(expression, matched if annotation is not None else None)
    raw.frames["files"] = file_frame([*RAW_NAMES], raw.problems)
    return raw


def _read_genome_and_annotation(raw: RawFrames, inputs: Mapping[str, Path], scratch: Path) -> Annotation | None:
    from components.extract_sequences.annotation import read_annotation
    from components.extract_sequences.contig_names import match_contigs
    from components.extract_sequences.fasta import write_genome
    from components.sequences import Genome

    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        target = Path(folder) / "genome.safetensors"
        facts = raw.attempt("genome", lambda: write_genome(inputs["genome"], target))
        genome = Genome.open(target) if facts is not None else None
        if genome is not None:
            raw.frames["contigs"] = contig_frame(genome)
        annotation = raw.attempt("annotation", lambda: read_annotation(inputs["annotation"]))
        if annotation is None:
            return None
        contig_bp = None
        if genome is not None:
            try:
                contigs = match_contigs(annotation, genome)
            except InputError:
                # None in common: the check of contigs tells it, with examples.
                contigs = [""] * len(annotation)
            contig_bp = np.array([genome.length(name) if name else -1 for name in contigs], dtype=np.int64)
        frame = transcript_frame(annotation, contig_bp)
    raw.frames["transcripts"] = frame
    raw.simulated |= bool(frame["transcript_id"].str.startswith(SIMULATED_TRANSCRIPT).any())
    raw.rna_bp = frame["rna_bp"].to_numpy()
    raw.isoforms_per_gene = frame["gene_id"].value_counts().to_numpy()
    return annotation


def _read_expression(raw: RawFrames, inputs: Mapping[str, Path], extract: ExtractParams) -> Expression | None:
    from components.extract_sequences.expression import read_expression
    from components.extract_sequences.samples import read_sample_tissues

    attributes = raw.attempt(
        "sample_attributes", lambda: read_sample_tissues(inputs["sample_attributes"], extract.tissue_column)
    )
    if attributes is None:
        return None
    raw.frames["attributes"] = attribute_frame(attributes)
    expression = raw.attempt(
        "expression", lambda: read_expression(inputs["expression"], attributes, tuple(extract.tissues))
    )
    if expression is None:
        return None
    raw.frames["samples"] = sample_frame(expression)
    raw.frames["tissues"] = tissue_frame(expression)
    labels = np.log1p(expression.mean_tpm)
    raw.tissues = list(expression.tissues)
    raw.tissue_mean, raw.tissue_sd = labels.mean(axis=0), labels.std(axis=0)
    raw.tpm_sums = expression.tpm_sums
    raw.simulated |= any(sample.startswith(SIMULATED_SAMPLE) for sample in expression.samples)
    return expression


def _match(raw: RawFrames, annotation: Annotation, expression: Expression, extract: ExtractParams) -> np.ndarray:
    """Which rows of the expression table are annotated, bool (R,)."""
    from components.extract_sequences.id_matching import match_ids

    annotated = [name.transcript_id for name in annotation.naming]
    measured = expression.transcript_ids
    matched = np.zeros(len(measured), dtype=bool)
    found = raw.attempt(
        "transcript ids", lambda: match_ids(annotated, measured, extract.id_matching, where=expression.path)
    )
    if found is not None:
        matched[list(found.row_of.values())] = True
    both = int(matched.sum())
    raw.matches = {
        "in both": both,
        "annotation only": len(annotated) - both,
        "expression only": len(measured) - both,
    }
    return matched
