"""What servers recorded of the transcripts they were asked: figures per transcript, no sequences."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.errors import InputError

PATTERN = "observations-*.parquet"
FEATURES = ("rna_nt", "protein_residues", "rna_gc", "dna_gc", "rna_unknown", "dna_unknown")


@dataclass(frozen=True)
class Observed:
    """Figures by name, float (N,) with NaN where absent; predictions (N, tissues); files of other models left out."""

    values: dict[str, np.ndarray]
    predicted: np.ndarray
    tissues: tuple[str, ...]
    other_models: int


def read_observations(folder: Path, version: str) -> Observed:
    """All files of `folder` that the model `version` answered; raises `InputError` where there are none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables, others = [], 0
    for file in sorted(folder.glob(PATTERN)):
        try:
            schema = pq.read_schema(file)
            model = json.loads(schema.metadata[b"model"])
            if model["version"] != version:
                others += 1
                continue
            tables.append(pq.read_table(file, columns=[*FEATURES, "predicted"]))
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
            raise InputError(
                where=str(file),
                expected="a file that a server recorded",
                found=f"unreadable ({error})",
                fix="Delete it: every file stands for itself.",
            ) from None
    if not tables:
        raise InputError(
            where=str(folder),
            expected=f"{PATTERN} of model {version}",
            found=f"{others:,} files of other models" if others else "no such file",
            fix="Start the server with --observations DIR, and wait until it has answered some.",
        )
    table = pa.concat_tables(tables)
    tissues = tuple(json.loads(tables[0].schema.metadata[b"tissues"]))
    predicted = np.asarray(table.column("predicted").combine_chunks().flatten(), dtype=float).reshape(-1, len(tissues))
    values = {name: np.asarray(table.column(name).to_numpy(), dtype=float) for name in FEATURES}
    return Observed(values, predicted, tissues, others)
