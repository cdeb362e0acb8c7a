"""What extraction wrote, read back as frames to be checked, compared and drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.extract_sequences.table import schema
from components.sequences import Genome

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# log1p of 0.1 TPM: above it a transcript counts as expressed.
EXPRESSED_LOG1P_TPM = float(np.log1p(0.1))
_ROWS_AT_ONCE = 8192
_READ = (
    *("transcript_id", "gene_id", "gene_type", "contig", "strand", "tss", "window_start", "window_end", "exon_starts"),
    *("exon_ends", "rna", "cds_start", "cds_end", "cds_phase", "protein", "coding_status", "split", "labels"),
)
# Counts of three kinds of letters, added up side by side in one number; no sequence is longer than a field is wide.
_FIELD_BITS = 21
_OTHER, _UNKNOWN, _CHOSEN = 1, 1 << _FIELD_BITS, 1 << 2 * _FIELD_BITS


@dataclass(frozen=True)
class Dataset:
    """Frames by name (see table_suites.KEYS), `rows` among them; `labels` float32 (N, T); `facts`: dataset.json."""

    frames: dict[str, pd.DataFrame]
    labels: np.ndarray
    facts: Mapping[str, Any]

    @property
    def rows(self) -> pd.DataFrame:
        """One row per transcript."""
        return self.frames["rows"]

    @property
    def tissues(self) -> list[str]:
        """Names, in the order of the labels."""
        return list(self.facts["tissues"])


def read_dataset(payload: Path) -> Dataset:
    """Read the payload of a transcripts artifact: its table and its description."""
    import pyarrow.parquet as pq

    facts = json.loads((payload / "dataset.json").read_text(encoding="utf-8"))
    file = pq.ParquetFile(payload / "transcripts.parquet")
    columns = _column_frame(file.schema_arrow, len(facts["tissues"]))
    batches = file.iter_batches(_ROWS_AT_ONCE, columns=[name for name in _READ if name in file.schema_arrow.names])
    rows, labels = _row_frame(list(map(_measured, batches)), Genome.open(payload / "genome.safetensors"))
    frames = {
        "columns": columns,
        "rows": rows,
        "labels": _label_frame(labels, (rows["split"] == "train").to_numpy(), facts),
        "splits": _split_frame(rows),
        "leakage": _leakage_frame(facts),
        "dataset": _summary_frame(len(rows), facts),
    }
    return Dataset(frames, labels, facts)


def _column_frame(found: pa.Schema, tissues: int) -> pd.DataFrame:
    """One row per column that is documented or found: column, documented type, found type, as_documented."""
    import pandas as pd

    documented = {field.name: str(field.type) for field in schema(tissues)}
    # A list's inner name is Parquet's own matter.
    there = {field.name: str(field.type).replace("element:", "item:") for field in found}
    names = list(dict.fromkeys([*documented, *there]))
    frame = pd.DataFrame({"column": names, "documented": map(documented.get, names), "found": map(there.get, names)})
    frame["as_documented"] = frame["documented"] == frame["found"]
    return frame


def _measured(batch: pa.RecordBatch) -> dict[str, Any]:
    """Columns of a batch as arrays, with sequences measured and let go."""
    import pyarrow.compute as pc

    columns: dict[str, Any] = {
        name: batch[name]
        for name in ("transcript_id", "gene_id", "gene_type", "contig", "strand", "coding_status", "split")
    }
    for name in ("tss", "window_start", "window_end", "cds_start", "cds_end", "cds_phase"):
        columns[name] = batch[name].to_numpy()
    columns["rna_bp"], columns["rna_other"], columns["rna_unknown"], columns["rna_gc"] = _letters(
        batch["rna"], known=b"ACGTN", unknown=b"N", chosen=b"GC"
    )
    columns["protein_residues"], columns["protein_other"], _, columns["stops_inside"] = _letters(
        batch["protein"], known=b"ACDEFGHIKLMNPQRSTVWYUX*", unknown=b"X", chosen=b"*"
    )
    columns["has_protein"] = pc.is_valid(batch["protein"]).to_numpy(zero_copy_only=False)
    columns["exons"] = pc.list_value_length(batch["exon_starts"]).to_numpy()
    starts, ends = (batch[name].flatten().to_numpy() for name in ("exon_starts", "exon_ends"))
    owner = np.repeat(np.arange(len(batch)), columns["exons"])
    columns["exon_bp"] = np.bincount(owner, weights=ends - starts, minlength=len(batch)).astype(np.int64)
    edges = np.concatenate([[0], np.cumsum(columns["exons"])])[:-1]
    columns["first_bp"], columns["last_bp"] = starts[edges], ends[edges + columns["exons"] - 1] - 1
    disordered = (owner[1:] == owner[:-1]) & (starts[1:] < ends[:-1])
    columns["disordered_exons"] = np.bincount(owner[1:][disordered], minlength=len(batch))
    columns["labels"] = batch["labels"].flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1)
    return columns


def _letters(texts: pa.Array, *, known: bytes, unknown: bytes, chosen: bytes) -> tuple[np.ndarray, ...]:
    """By text: its length, letters that are not `known`, those of `unknown`, those of `chosen`; zeros where none."""
    table = np.full(256, _OTHER, dtype=np.int64)
    table[list(known)] = 0
    table[list(unknown)] += _UNKNOWN
    table[list(chosen)] += _CHOSEN
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    letters = np.frombuffer(data or b"", dtype=np.uint8)[bounds[0] : bounds[-1]]
    # Differences of running sums: exact in wrapping arithmetic, and right for empty texts.
    running = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(table[letters])])
    counts = np.diff(running[bounds - bounds[0]])
    mask = (1 << _FIELD_BITS) - 1
    return np.diff(bounds), counts & mask, counts >> _FIELD_BITS & mask, counts >> 2 * _FIELD_BITS & mask


def _row_frame(batches: list[dict[str, Any]], genome: Genome) -> tuple[pd.DataFrame, np.ndarray]:
    import pandas as pd
    import pyarrow as pa

    def joined(name: str) -> Any:
        parts = [batch[name] for batch in batches]
        return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else pa.chunked_array(parts).to_pandas()

    frame = pd.DataFrame({name: joined(name) for name in batches[0] if name != "labels"})
    labels = joined("labels")
    length = frame["contig"].map({name: genome.length(name) for name in genome.contigs}).fillna(-1)
    # As sequences.window_interval defines it: the TSS base at index L // 2 in sense direction.
    plus = frame["strand"] == "+"
    centre = np.where(plus, frame["tss"] - frame["window_start"], frame["window_end"] - 1 - frame["tss"])
    coding = frame["cds_start"] >= 0
    frame["window_bp"] = frame["window_end"] - frame["window_start"]
    frame["tss_off_centre_bp"] = centre - frame["window_bp"] // 2
    frame["tss_is_first_base"] = frame["tss"] == np.where(plus, frame["first_bp"], frame["last_bp"])
    frame["past_contig_bp"] = np.maximum(np.maximum(frame["last_bp"] + 1 - length, -frame["first_bp"]), 0)
    frame["rna_missing_bp"] = frame["exon_bp"] - frame["rna_bp"]
    frame["unknown_share"] = frame["rna_unknown"] / frame["rna_bp"].clip(lower=1)
    frame["gc_share"] = frame["rna_gc"] / (frame["rna_bp"] - frame["rna_unknown"]).clip(lower=1)
    inside = (frame["cds_end"] > frame["cds_start"]) & (frame["cds_end"] <= frame["rna_bp"])
    frame["cds_inside_rna"] = np.where(
        coding, inside & frame["cds_phase"].isin([0, 1, 2]), (frame["cds_end"] < 0) & (frame["cds_phase"] < 0)
    )
    codons = (frame["cds_end"] - frame["cds_start"] - frame["cds_phase"]) // 3
    # Slippage reads bases twice or skips them, so that residues and codons part by a few.
    frame["residues_off"] = np.where(frame["has_protein"], (frame["protein_residues"] - codons).abs(), 0)
    frame["read_through_stops"] = frame["stops_inside"] > 0
    frame["labels_not_finite"] = (~np.isfinite(labels)).sum(axis=1)
    with np.errstate(invalid="ignore"):
        frame["lowest_label"], frame["highest_label"] = labels.min(axis=1), labels.max(axis=1)
    return frame, labels


def _label_frame(labels: np.ndarray, train: np.ndarray, facts: Mapping[str, Any]) -> pd.DataFrame:
    """One row per tissue: tissue, samples, expressed_share, mean, sd, train_sd, reliability."""
    import pandas as pd

    tissues = list(facts["tissues"])
    return pd.DataFrame(
        {
            "tissue": tissues,
            "samples": [facts["samples_per_tissue"].get(tissue, 0) for tissue in tissues],
            "expressed_share": (labels > EXPRESSED_LOG1P_TPM).mean(axis=0),
            "mean": labels.mean(axis=0, dtype=np.float64),
            "sd": labels.std(axis=0, dtype=np.float64),
            "train_sd": labels[train].std(axis=0, dtype=np.float64) if train.any() else np.zeros(len(tissues)),
            "reliability": pd.array(facts["label_reliability"], dtype="Float64").to_numpy(float, na_value=np.nan),
        }
    )


def _split_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per split that is there: split, transcripts, genes."""
    found = rows.groupby("split", sort=False).agg(transcripts=("gene_id", "size"), genes=("gene_id", "nunique"))
    return found.reset_index()


def _leakage_frame(facts: Mapping[str, Any]) -> pd.DataFrame:
    """One row per kind of leak that the audit looked for: kind, shared, blocking (shared where that blocks), first."""
    import pandas as pd

    found = facts["leakage_audit"]
    return pd.DataFrame(
        {
            "kind": [kind.replace("_", " ") for kind in found],
            "shared": [entry["count"] for entry in found.values()],
            "blocking": [entry["count"] if entry["blocks"] else 0 for entry in found.values()],
            "first": ["; ".join(entry["examples"][:3]) for entry in found.values()],
        }
    )


def _summary_frame(rows: int, facts: Mapping[str, Any]) -> pd.DataFrame:
    """One row about the whole: name, matched_share of measured transcripts, kept_share of matched ones, tissues."""
    import pandas as pd

    matching = facts["id_matching"]
    matched = sum(count for way, count in matching.items() if not way.endswith("_only"))
    return pd.DataFrame(
        {
            "name": ["dataset"],
            "matched_share": [matched / max(matched + matching["expression_only"], 1)],
            "kept_share": [rows / max(matched, 1)],
            "tissues": [len(facts["tissues"])],
        }
    )
