"""Predicting every transcript of an annotation into one Parquet file, with progress, going on where it was stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.batch_predict.packaged import PackagedModel, open_package
from components.batch_predict.parts import join_parts, parts_of, write_parts
from components.extract_sequences.annotation import read_annotation
from components.extract_sequences.fasta import write_genome
from components.extract_sequences.transcripts import Transcript, extract
from components.sections import ExtractParams
from components.sequences import Genome
from components.work_folders import work_folder
from model.batch import TranscriptInput
from model.errors import InputError

# Transcripts of one part file: what a kill can cost.
PART_TRANSCRIPTS = 256
_TYPES = {"tss": "int64"}
NAMES = ("transcript_id", "gene_id", "gene_name", "contig", "strand", "tss")


def predict_annotation(
    package: Path, genome: Path, annotation: Path, out: Path, work: Path, *, processes: int = 1, threads: int = 0
) -> int:
    """Write log1p TPM of every transcript of `annotation` on `genome` to `out`, in genome order; returns their count.

    `package`: folder of `find_package`. Columns: transcript_id, gene_id, gene_name, contig, strand, tss, notes,
    predicted (log1p TPM per tissue; the schema's metadata name tissues and model). Parts are kept below `work`, keyed
    by inputs and model: a second call goes on with what is missing. `out` appears whole. Raises `InputError` on bad
    input or where `out` exists.
    """
    refuse_existing(out)
    about = json.loads((package / "about.json").read_text(encoding="utf-8"))
    inputs = {"genome": genome, "annotation": annotation}
    config = {"version": about["version"], "part": PART_TRANSCRIPTS}
    folder = work_folder(work, "batch_predict", inputs, config)
    opened, transcripts = read_transcripts(genome, annotation, window_bp_of(package), folder)
    if not transcripts:
        raise InputError(
            where=str(annotation), expected="transcripts on the genome", found="none", fix="Check both files."
        )
    parts = parts_of(transcripts, folder, PART_TRANSCRIPTS)
    write_parts(
        parts,
        open_model=lambda share: open_package(package, threads=share or threads),
        table_of=lambda model, rows: predicted_table(model, opened, rows),
        processes=processes,
        unit="transcripts",
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    join_parts([part.file for part in parts], out)
    return len(transcripts)


def refuse_existing(out: Path) -> None:
    """Raise `InputError` where `out` exists: no result is overwritten."""
    if out.exists():
        raise InputError(where=str(out), expected="no such file", found="one", fix="Choose another --out or delete it.")


def window_bp_of(package: Path) -> int:
    """Length of the DNA window that a packaged model reads."""
    return int(json.loads((package / "config.json").read_text(encoding="utf-8"))["window_bp"])


def read_transcripts(genome: Path, annotation: Path, window_bp: int, folder: Path) -> tuple[Genome, list[Transcript]]:
    """The genome as codes (kept in `folder` for a later try) and all transcripts, in the order of the genome."""
    codes = folder / "genome.safetensors"
    if not codes.exists():
        partial_file = folder / f".genome.{os.getpid()}"
        write_genome(genome, partial_file)
        os.replace(partial_file, codes)
    opened = Genome.open(codes)
    extraction = extract(read_annotation(annotation), opened, ExtractParams(window_bp=window_bp))
    return opened, extraction.transcripts


def input_of(genome: Genome, row: Any, modalities: Sequence[str]) -> TranscriptInput:
    """What the model may read of one transcript."""
    window = genome.window(row.contig, row.window_start, row.window_end, row.strand) if "dna" in modalities else None
    return TranscriptInput(dna=window, rna=row.rna, protein=row.protein)


def metadata_of(about: Mapping[str, Any], tissues: Sequence[str], unit: str) -> dict[str, str]:
    """What a Parquet file of predictions says of itself."""
    facts = {name: about[name] for name in ("version", "model_digest", "dataset_version", "simulated")}
    return {"tissues": json.dumps(list(tissues)), "model": json.dumps(facts), "unit": unit}


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
    metadata = metadata_of(model.about, model.config.tissues, "log1p TPM")
    return pa.table(columns).replace_schema_metadata(metadata)
