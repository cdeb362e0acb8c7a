"""Finding a user's own four files: genome, annotation, expression, sample attributes; and the truth of a simulation."""

from __future__ import annotations

import json
from pathlib import Path

from components.artifacts import open_artifact
from components.sections import DataParams
from model.errors import InputError

TRUTH = "truth.json"
RAW_NAMES: dict[str, tuple[str, ...]] = {
    "genome": ("genome.fa.gz", "genome.fa", "genome.fasta.gz", "genome.fasta"),
    "annotation": ("annotation.gtf.gz", "annotation.gtf", "annotation.gff3.gz", "annotation.gff3"),
    "expression": (
        *("transcript_tpm.gct.gz", "transcript_tpm.gct", "transcript_tpm.txt.gz", "transcript_tpm.txt"),
        *("transcript_tpm.tsv.gz", "transcript_tpm.tsv", "transcript_tpm.csv.gz", "transcript_tpm.csv"),
        "transcript_tpm.parquet",
    ),
    "sample_attributes": ("sample_attributes.txt", "sample_attributes.txt.gz", "sample_attributes.csv"),
}


def find_raw_data(folder: Path, data: DataParams) -> dict[str, Path]:
    """Paths of the four raw files, by name: those that `data` names, else the documented names in `folder`.

    A relative path of `data` is looked up in `folder`. A missing, empty or doubly present file raises `InputError`.
    """
    return {name: _find(folder, name, getattr(data, name)) for name in RAW_NAMES}


def find_sequences(folder: Path, data: DataParams) -> dict[str, Path]:
    """Paths of genome and annotation, all that a prediction reads; and of `data.variants` where it is named."""
    found = {name: _find(folder, name, getattr(data, name)) for name in ("genome", "annotation")}
    if data.variants:
        found["variants"] = _find(folder, "variants", data.variants)
    return found


def _find(folder: Path, name: str, named: str | None) -> Path:
    candidates = [folder / named] if named else [folder / item for item in RAW_NAMES[name]]
    found = [path for path in candidates if path.is_file()]
    if len(found) != 1:
        raise InputError(
            where=str(candidates[0] if named else folder),
            expected=f"the {name} file" if named else f"one of {', '.join(RAW_NAMES[name])}",
            found=" and ".join(path.name for path in found) or "no such file",
            fix=f"Put it there under that name, or set data.{name} in params.yaml.",
        )
    if found[0].stat().st_size == 0:
        raise InputError(where=str(found[0]), expected=f"the {name} file", found="an empty file", fix="Fetch it again.")
    return found[0]


def find_truth(folder: Path, transcripts: Path) -> dict[str, Path]:
    """{"truth": path} where `folder` holds the truth about the simulated expression that `transcripts` was made from.

    Empty for data that nobody simulated, and for a truth about other data.
    """
    place = folder / TRUTH
    made_from = open_artifact(transcripts, "transcripts", verify=False).manifest["inputs"].get("expression")
    try:
        told = json.loads(place.read_text(encoding="utf-8"))["files"].values()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {"truth": place} if made_from in told else {}
