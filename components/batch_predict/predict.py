"""Predicting every transcript of an annotation into one Parquet file, with progress, going on where it was stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.artifacts import work_folder
from components.batch_predict.packaged import PackagedModel
from components.extract_sequences.annotation import read_annotation
from components.extract_sequences.fasta import write_genome
from components.extract_sequences.transcripts import Transcript, extract
from components.progress import track
from components.sections import ExtractParams
from components.sequences import Genome
from model.batch import TranscriptInput
from model.errors import InputError

# Transcripts of one part file: what a kill can cost.
PART_TRANSCRIPTS = 256
_TYPES = {"tss": "int64"}
NAMES = ("transcript_id", "gene_id", "gene_name", "contig", "strand", "tss")


def predict_annotation(model: PackagedModel, genome: Path, annotation: Path, out: Path, work: Path) -> int:
    """Write log1p TPM of every transcript of `annotation` on `genome` to `out`, in genome order; returns their count.

    Columns: transcript_id, gene_id, gene_name, contig, strand, tss, notes, predicted (log1p TPM per tissue; the
    schema's metadata name tissues and model). Parts are kept below `work`, keyed by inputs and model: a second call
    goes on with what is missing. `out` appears whole. Raises `InputError` on bad input or where `out` exists.
    """
    if out.exists():
        raise InputError(where=str(out), expected="no such file", found="one", fix="Choose another --out or delete it.")
    inputs = {"genome": genome, "annotation": annotation}
    folder = work_folder(work, "batch_predict", inputs, {"version": model.about["version"], "part": PART_TRANSCRIPTS})
    opened, transcripts = read_transcripts(genome, annotation, model.config.window_bp, folder)
    if not transcripts:
        raise InputError(
            where=str(annotation), expected="transcripts on the genome", found="none", fix="Check both files."
        )
    parts = [
        (folder / f"part-{start:08d}.parquet", transcripts[start : start + PART_TRANSCRIPTS])
        for start in range(0, len(transcripts), PART_TRANSCRIPTS)
    ]
    with track(len(transcripts), "predict", "transcripts") as advance:
        for file, rows in parts:
            if not file.exists():
                write_part(file, predicted_table(model, opened, rows))
            advance(len(rows))
    out.parent.mkdir(parents=True, exist_ok=True)
    join_parts([file for file, _ in parts], out)
    return len(transcripts)


def read_transcripts(genome: Path, annotation: Path, window_bp: int, folder: Path) -> tuple[Genome, list[Transcript]]:
    """The genome as codes (kept in `folder` for a later try) and all transcripts, in the order of the genome."""
    codes = folder / "genome.safetensors"
    if not codes.exists():
        partial = folder / f".genome.{os.getpid()}"
        write_genome(genome, partial)
        os.replace(partial, codes)
    opened = Genome.open(codes)
    extraction = extract(read_annotation(annotation), opened, ExtractParams(window_bp=window_bp))
    return opened, extraction.transcripts


def input_of(genome: Genome, row: Any, modalities: Sequence[str]) -> TranscriptInput:
    """What the model may read of one transcript."""
    window = genome.window(row.contig, row.window_start, row.window_end, row.strand) if "dna" in modalities else None
    return TranscriptInput(dna=window, rna=row.rna, protein=row.protein)


def predicted_table(model: PackagedModel, genome: Genome, rows: Sequence[Any]) -> Any:
    """Predictions of transcripts as an Arrow table; see `predict_annotation` for its columns."""
    import pyarrow as pa

    predictions = model.predictor.predict([input_of(genome, row, model.config.modalities) for row in rows])
    width = len(model.config.tissues)
    # Typed, so that parts of nothing but nulls, or of nothing, join the others.
    columns = {name: pa.array([getattr(row, name) for row in rows], _TYPES.get(name, "string")) for name in NAMES}
    notes = [[f"{note.field}: {note.message}" for note in of_row] for of_row in predictions.notes]
    columns["notes"] = pa.array(notes, pa.list_(pa.string()))
    flat = pa.array(predictions.log1p_tpm.reshape(-1))
    columns["predicted"] = pa.FixedSizeListArray.from_arrays(flat, width)
    facts = {name: model.about[name] for name in ("version", "model_digest", "dataset_version", "simulated")}
    metadata = {"tissues": json.dumps(model.config.tissues), "model": json.dumps(facts), "unit": "log1p TPM"}
    return pa.table(columns).replace_schema_metadata(metadata)


def write_part(file: Path, table: Any) -> None:
    """Write a table; the file appears whole."""
    import pyarrow.parquet as pq

    partial = file.with_name(f".{file.name}.{os.getpid()}")
    pq.write_table(table, partial)
    os.replace(partial, file)


def join_parts(parts: Sequence[Path], out: Path) -> None:
    """Write the rows of all parts to `out`, which appears whole."""
    import pyarrow.parquet as pq

    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with pq.ParquetWriter(partial, pq.read_schema(parts[0])) as writer:
            for part in parts:
                writer.write_table(pq.read_table(part))
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
