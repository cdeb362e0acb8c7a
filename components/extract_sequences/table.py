"""transcripts.parquet: its schema, written in row groups with the same bytes for the same content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.extract_sequences.transcripts import Transcript

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
_ROWS_PER_GROUP = 8192


def schema(tissues: int) -> pa.Schema:
    """The columns, one row per transcript; coordinates are 0-based and half-open, offsets count in the RNA."""
    import pyarrow as pa

    positions = pa.list_(pa.int64())
    names = pa.list_(pa.string())
    return pa.schema(
        [
            pa.field("transcript_id", pa.string(), nullable=False),
            pa.field("gene_id", pa.string(), nullable=False),
            pa.field("gene_name", pa.string()),
            pa.field("gene_type", pa.string(), nullable=False),
            pa.field("transcript_type", pa.string(), nullable=False),
            pa.field("contig", pa.string(), nullable=False),
            pa.field("strand", pa.string(), nullable=False),
            pa.field("tss", pa.int64(), nullable=False),
            pa.field("window_start", pa.int64(), nullable=False),
            pa.field("window_end", pa.int64(), nullable=False),
            pa.field("exon_starts", positions, nullable=False),
            pa.field("exon_ends", positions, nullable=False),
            pa.field("rna", pa.string(), nullable=False),
            pa.field("cds_start", pa.int32(), nullable=False),
            pa.field("cds_end", pa.int32(), nullable=False),
            pa.field("cds_phase", pa.int8(), nullable=False),
            pa.field("protein", pa.string()),
            pa.field("coding_status", pa.string(), nullable=False),
            pa.field("tags", names, nullable=False),
            pa.field("reasons", names, nullable=False),
            pa.field("split", pa.string(), nullable=False),
            pa.field("labels", pa.list_(pa.float32(), tissues), nullable=False),
        ],
        metadata={"schema_version": str(SCHEMA_VERSION)},
    )


def write_transcripts(path: Path, transcripts: Sequence[Transcript], splits: Sequence[str], labels: np.ndarray) -> None:
    """Write transcripts with their split and labels float32 (N, tissues), log1p TPM."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = schema(labels.shape[1])
    plain = [name for name in columns.names if name not in ("split", "labels")]
    with pq.ParquetWriter(path, columns, compression="zstd", compression_level=3) as writer:
        for start in range(0, len(transcripts), _ROWS_PER_GROUP):
            rows = transcripts[start : start + _ROWS_PER_GROUP]
            arrays = [pa.array([getattr(row, name) for row in rows], columns.field(name).type) for name in plain]
            arrays.append(pa.array(splits[start : start + len(rows)], pa.string()))
            flat = pa.array(np.ascontiguousarray(labels[start : start + len(rows)]).reshape(-1), pa.float32())
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, labels.shape[1]))
            writer.write_batch(pa.record_batch(arrays, schema=columns))
