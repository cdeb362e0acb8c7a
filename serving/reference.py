"""A mounted transcripts artifact, so that a client may name a transcript instead of sending its sequences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from components.artifacts import open_artifact
from components.sequences import Genome
from components.variants import Locus
from model.batch import TranscriptInput
from model.config import IsoFormerConfig
from model.errors import InputError
from serving.normalize import BadItemError
from serving.schema import FieldError

_COLUMNS = [
    *("transcript_id", "gene_id", "gene_name", "transcript_type", "contig", "strand", "tss", "window_start"),
    *("window_end", "exon_starts", "exon_ends", "rna", "cds_start", "cds_end", "cds_phase", "protein", "reasons"),
]
_INCOMPLETE_START = {"cds_start_nf", "mrna_start_nf", "phase_skipped"}
MAX_LISTED = 200


class Reference:
    """Transcripts of a transcripts artifact by id; sequences stay on disk until asked for, except RNA and protein.

    Raises `InputError` where the artifact is damaged or its window is not the model's.
    """

    def __init__(self, folder: Path, config: IsoFormerConfig) -> None:
        try:
            import pyarrow.parquet as pq
        except ModuleNotFoundError:
            raise InputError(
                where="ISOFORMER_SERVE_REFERENCE",
                expected="pyarrow, which reads the reference",
                found="no such package",
                fix="Install it beside the server, or start without a reference.",
            ) from None
        artifact = open_artifact(folder, "transcripts")
        dataset = json.loads((artifact.payload / "dataset.json").read_text(encoding="utf-8"))
        if dataset["window_bp"] != config.window_bp:
            raise InputError(
                where=str(folder),
                expected=f"DNA windows of {config.window_bp} bp, which the model reads",
                found=f"{dataset['window_bp']} bp",
                fix="Mount the transcripts that the model was trained on, or extract with its window_bp.",
            )
        self.digest = artifact.digest
        self._table = pq.read_table(artifact.payload / "transcripts.parquet", columns=_COLUMNS)
        self.genome = Genome.open(artifact.payload / "genome.safetensors")
        self._row_of_id: dict[str, int] = {}
        for row, name in enumerate(self._table.column("transcript_id").to_pylist()):
            self._row_of_id[name] = row
            # Without its version a transcript is found too, unless that would be ambiguous.
            bare = name.partition(".")[0]
            if bare != name:
                self._row_of_id[bare] = -1 if bare in self._row_of_id else row
        self._rows_of_gene: dict[str, list[int]] = {}
        genes = (self._table.column(name).to_pylist() for name in ("gene_id", "gene_name"))
        for row, (gene, symbol) in enumerate(zip(*genes, strict=True)):
            for name in {gene.lower(), gene.partition(".")[0].lower(), (symbol or gene).lower()}:
                self._rows_of_gene.setdefault(name, []).append(row)

    def transcripts_of(self, gene: str) -> list[dict[str, Any]]:
        """Transcripts of a gene given by name, gene id or one of its transcripts; at most `MAX_LISTED`, none unknown.

        Each with transcript_id, gene_id, gene_name, transcript_type, rna_nt and protein_residues.
        """
        rows = self._rows_of_gene.get(gene.lower(), [])
        row = self._row_of_id.get(gene, -1)
        if not rows and row >= 0:
            rows = self._rows_of_gene[self._table.column("gene_id")[row].as_py().lower()]
        listed = []
        for record in self._table.take(np.array(rows[:MAX_LISTED], dtype=np.int64)).to_pylist():
            named = {name: record[name] for name in ("transcript_id", "gene_id", "gene_name", "transcript_type")}
            listed.append({**named, "rna_nt": len(record["rna"]), "protein_residues": len(record["protein"] or "")})
        return listed

    def transcript(self, name: str, index: int) -> TranscriptInput:
        """The sequences of a transcript (protein None where it has none); raises `BadItemError` for item `index`."""
        record = self._record(name, index)
        place = (record["contig"], record["window_start"], record["window_end"], record["strand"])
        window = self.genome.window(*place)
        return TranscriptInput(dna=window, rna=record["rna"], protein=record["protein"])

    def locus(self, name: str, index: int) -> Locus:
        """Where a transcript lies, for applying variants; raises `BadItemError` for item `index`."""
        record = self._record(name, index)
        has_cds = record["cds_start"] >= 0
        return Locus(
            contig=record["contig"],
            strand=record["strand"],
            tss=record["tss"],
            window=(record["window_start"], record["window_end"]),
            exons=tuple(zip(record["exon_starts"], record["exon_ends"], strict=True)),
            cds=(record["cds_start"], record["cds_end"]) if has_cds else None,
            phase=max(record["cds_phase"], 0),
            protein=record["protein"],
            mitochondrial="mitochondrial_code" in record["reasons"],
            complete_start=not _INCOMPLETE_START & set(record["reasons"]),
        )

    def _record(self, name: str, index: int) -> dict[str, Any]:
        row = self._row_of_id.get(name)
        if row is None or row < 0:
            message = "no such transcript in the reference" if row is None else "several versions: name one"
            raise BadItemError([FieldError(item=index, field="id", message=message)])
        return dict(self._table.slice(row, 1).to_pylist()[0])
