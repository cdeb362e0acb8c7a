"""What the training transcripts look like, so that the server can tell an unlike one and a drift of its questions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from components.sequences import Genome, sequence_features
from model.tokenizers import dna_codes

SCHEMA_VERSION = 1
# Bins of equal weight, the usual ten of a population stability index.
_BINS = 10
# A value outside this share of the training transcripts counts as unlike them.
_CENTRAL_SHARE = 0.998
# Reading every window of a whole genome would take minutes and change no quantile by much.
_MAX_TRANSCRIPTS = 5_000
_COLUMNS = ["contig", "strand", "window_start", "window_end", "rna", "protein"]
# The mean over tissues of one prediction; drift of its distribution is drift of what is answered.
PREDICTION = "predicted_log1p_tpm"


def training_profile(transcripts: Path, evaluation: Path, modalities: tuple[str, ...]) -> dict[str, Any]:
    """Ranges and bins of each feature over the training split, and of predictions over the test split.

    `transcripts`, `evaluation`: payloads. `modalities` of the dataset's sets {"dna", "rna", "protein"} that training
    saw, of those that the model reads.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(transcripts / "transcripts.parquet", columns=_COLUMNS, filters=[("split", "==", "train")])
    step = max(1, -(-table.num_rows // _MAX_TRANSCRIPTS))
    genome = Genome.open(transcripts / "genome.safetensors")
    values: dict[str, list[float]] = {}
    seen: set[tuple[str, ...]] = set()
    for row in table.take(np.arange(0, table.num_rows, step)).to_pylist():
        window = genome.window(row["contig"], row["window_start"], row["window_end"], row["strand"])
        given: dict[str, Any] = {"dna": window, "rna": row["rna"] or None, "protein": row["protein"] or None}
        read = {name: value if name in modalities else None for name, value in given.items()}
        seen.add(tuple(name for name, value in read.items() if value is not None))
        codes = dna_codes(read["rna"]).tobytes() if read["rna"] else None
        for name, value in sequence_features(read["dna"], codes, read["protein"]).items():
            values.setdefault(name, []).append(value)
    predictions = evaluation / "predictions.parquet"
    if predictions.is_file():
        predicted = pq.read_table(predictions, columns=["predicted"]).column("predicted").to_pylist()
        values[PREDICTION] = np.asarray(predicted, dtype=np.float64).mean(axis=1).tolist() if predicted else []
    return {
        "schema_version": SCHEMA_VERSION,
        "central_share": _CENTRAL_SHARE,
        "modalities": sorted(list(names) for names in seen),
        "features": {name: describe(np.array(found)) for name, found in sorted(values.items()) if found},
    }


def describe(values: np.ndarray) -> Mapping[str, Any]:
    """Range and bins of values (N,): `edges` inner borders, `share` of each of the len(edges) + 1 bins."""
    tail = (1 - _CENTRAL_SHARE) / 2
    # Of few values the outermost count as seen.
    low, high = np.quantile(values, tail, method="lower"), np.quantile(values, 1 - tail, method="higher")
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
    share = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1) / len(values)
    return {
        "count": len(values),
        "low": float(low),
        "high": float(high),
        "edges": edges.tolist(),
        "share": share.tolist(),
    }
