"""A mounted transcripts artifact, so that a client may name a transcript instead of sending its sequences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components.artifacts import open_artifact
from components.sequences import Genome
from model.batch import TranscriptInput
from model.config import IsoFormerConfig
from model.errors import InputError
from serving.normalize import BadItemError
from serving.schema import FieldError

_COLUMNS = ["transcript_id", "contig", "strand", "window_start", "window_end", "rna", "protein"]


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
        self._genome = Genome.open(artifact.payload / "genome.safetensors")
        self._row_of_id: dict[str, int] = {}
        for row, name in enumerate(self._table.column("transcript_id").to_pylist()):
            self._row_of_id[name] = row
            # Without its version a transcript is found too, unless that would be ambiguous.
            bare = name.partition(".")[0]
            if bare != name:
                self._row_of_id[bare] = -1 if bare in self._row_of_id else row

    def transcript(self, name: str, index: int) -> TranscriptInput:
        """The sequences of a transcript (protein None where it has none); raises `BadItemError` for item `index`."""
        row = self._row_of_id.get(name)
        if row is None or row < 0:
            message = "no such transcript in the reference" if row is None else "several versions: name one"
            raise BadItemError([FieldError(item=index, field="id", message=message)])
        record: dict[str, Any] = self._table.slice(row, 1).to_pylist()[0]
        place = (record["contig"], record["window_start"], record["window_end"], record["strand"])
        window = self._genome.window(*place)
        return TranscriptInput(dna=window, rna=record["rna"], protein=record["protein"])
