"""Data checks at full size: 170,000 transcripts, 17,382 samples, 30 tissues; Great Expectations beside plain pandas.

    python -m benchmarks.validation [--rows 170000]

Both sides answer the same questions of the same rows, and must count the same failures. The limit is 5 s for the suites
of the raw data and of the extracted table together, reading that table back included.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.extract_sequences.table import schema
from components.params import load_params
from components.sequences import GenomeWriter
from components.validate_data import suites, table_suites
from components.validate_data.dataset import checked
from components.validate_data.drift import drift_frame
from components.validate_data.runner import run_checks
from components.validate_data.suites import Check
from components.validate_data.table_frames import read_dataset

LIMIT_S = 5.0
SAMPLES, TISSUES, CONTIGS, CONTIG_BP = 17_382, 30, 24, 4_000_000
T = TypeVar("T")


def main() -> None:
    """Measure and print; ends with status 1 where the limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=170_000)
    rows = parser.parse_args().rows
    params = load_params(None)
    with tempfile.TemporaryDirectory() as folder:
        now, before = (write_payload(Path(folder) / name, rows, seed) for seed, name in enumerate(("now", "before")))
        size_mb = (now / "transcripts.parquet").stat().st_size / 1e6
        raw = raw_frames(rows)
        raw_checks = suites.all_checks(params.validate_data)
        timed(lambda: run_checks(raw_checks, raw_frames(1000), suites.KEYS))  # imports, once
        raw_s, raw_results = timed(lambda: run_checks(raw_checks, raw, suites.KEYS))
        table_s, (dataset, table_results) = timed(lambda: checked(now, params, None))
        previous = read_dataset(before)
        drift_s, drift = timed(lambda: drift_frame(previous, dataset))
        peer_raw_s, peer_raw = timed(lambda: plain(raw_checks, raw))
        table_checks = table_suites.table_checks(params.validate_data, params.extract)
        peer_table_s, peer_table = timed(lambda: plain(table_checks, plain_frames(now, params.extract.window_bp)))
        columns_s, _ = timed(lambda: plain(table_checks, dataset.frames))
    agree(raw_results, peer_raw)
    agree(table_results, peer_table)
    total_s = raw_s + table_s
    print(f"{rows:,} transcripts, {SAMPLES:,} samples; the extracted table is {size_mb:.0f} MB of Parquet")
    print(f"{'':52} {'ours':>8} {'pandas':>8} {'limit':>6}")
    print(f"{f'raw suites, {len(raw_results)} checks':52} {raw_s:7.2f}s {peer_raw_s:7.2f}s")
    print(f"{f'extracted table, read back, {len(table_results)} checks':52} {table_s:7.2f}s {peer_table_s:7.2f}s")
    print(f"{'   of these, asking pandas with our columns ready':52} {'':8} {columns_s:7.2f}s")
    print(f"{'both':52} {total_s:7.2f}s {peer_raw_s + peer_table_s:7.2f}s {LIMIT_S:5.1f}s")
    print(f"{f'drift, {len(drift)} statistics of two such tables':52} {drift_s:7.2f}s")
    print(f"largest resident memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")
    raise SystemExit(total_s > LIMIT_S)


def timed(run: Callable[[], T]) -> tuple[float, T]:
    """Seconds of wall time, and the result."""
    started = time.perf_counter()
    result = run()
    return time.perf_counter() - started, result


def raw_frames(rows: int) -> dict[str, pd.DataFrame]:
    """Frames of raw data with a few flaws, so that offenders are looked up too."""
    rng = np.random.default_rng(7)
    ids = [f"ENST{number:011d}.{number % 9}" for number in range(rows)]
    lowest = np.zeros(rows)
    lowest[rng.integers(0, rows, 5)] = -1.0
    samples = [f"GTEX-{number:05d}" for number in range(SAMPLES)]
    tissues = [f"tissue {number}" for number in range(TISSUES)]
    tissue = np.array(tissues)[rng.integers(0, TISSUES, SAMPLES)]
    return {
        "files": pd.DataFrame(
            {"input": ["genome", "annotation", "expression", "sample_attributes"], "problem": "none"}
        ),
        "contigs": pd.DataFrame(
            {"contig": [f"chr{n}" for n in range(25)], "length_bp": 10**8, "gc_share": 0.41, "unknown_share": 0.05}
        ),
        "transcripts": pd.DataFrame(
            {
                "transcript_id": ids,
                "gene_id": [f"ENSG{number // 4:011d}.1" for number in range(rows)],
                "line": np.arange(rows),
                "contig": "chr1",
                "strand": np.array(["+", "-"])[rng.integers(0, 2, rows)],
                "exons": rng.geometric(0.15, rows),
                "rna_bp": rng.integers(200, 250_000, rows),
                "overlapping_exons": 0,
                "cds_outside_exons": rng.random(rows) < 1e-4,
                "contig_known": True,
                "past_contig_bp": 0,
            }
        ),
        "expression": pd.DataFrame(
            {
                "transcript_id": ids,
                "line": np.arange(rows),
                "not_finite": 0,
                "lowest_tpm": lowest,
                "highest_tpm": rng.exponential(3, rows),
                "annotated": rng.random(rows) < 0.9,
            }
        ),
        "samples": pd.DataFrame({"sample_id": samples, "tissue": tissue, "tpm_sum": rng.normal(1e6, 4e4, SAMPLES)}),
        "attributes": pd.DataFrame({"sample_id": samples, "tissue": tissue, "line": np.arange(SAMPLES)}),
        "tissues": pd.DataFrame({"tissue": tissues, "samples": SAMPLES // TISSUES}),
    }


def write_payload(folder: Path, rows: int, seed: int) -> Path:
    """A transcripts payload with human-like lengths (mean 1.8 kb of RNA, 60 % coding), not a dataset of anything."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    writer = GenomeWriter(folder / "genome.safetensors")
    for number in range(CONTIGS):
        writer.start(f"chr{number + 1}")
        writer.write(bytes(CONTIG_BP))
    writer.close()
    letters = rng.choice(np.frombuffer(b"ACGT", np.uint8), 20_000_000).tobytes().decode()
    residues = rng.choice(np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8), 5_000_000).tobytes().decode()
    window = load_params(None).extract.window_bp
    length = np.clip(np.exp(rng.normal(7.1, 0.9, rows)), 60, 100_000).astype(int)
    coding = rng.random(rows) < 0.6
    start = np.sort(rng.integers(window, CONTIG_BP - 400_000, rows))
    at = rng.integers(0, 19_000_000, rows)
    cds_start = np.where(coding, length // 6, -1)
    codons = (length // 2) // 3
    proteins = [
        residues[place % 4_000_000 :][:count] if is_coding else None
        for place, count, is_coding in zip(at.tolist(), codons.tolist(), coding.tolist(), strict=True)
    ]
    split = np.searchsorted([0.85, 0.9], rng.random(rows // 4 + 1))
    contig = np.sort(rng.integers(1, CONTIGS + 1, rows))
    columns: dict[str, Any] = {
        "transcript_id": [f"ENST{number:011d}.1" for number in range(rows)],
        "gene_id": [f"ENSG{number // 4:011d}.1" for number in range(rows)],
        "gene_name": [None] * rows,
        "gene_type": np.where(coding, "protein_coding", "lncRNA"),
        "transcript_type": np.where(coding, "protein_coding", "lncRNA"),
        "contig": [f"chr{number}" for number in contig],
        "strand": ["+"] * rows,
        "tss": start,
        "window_start": start - window // 2,
        "window_end": start + window // 2,
        "exon_starts": pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32), start),
        "exon_ends": pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32), start + length),
        "rna": [letters[place : place + bp] for place, bp in zip(at.tolist(), length.tolist(), strict=True)],
        "cds_start": cds_start,
        "cds_end": np.where(coding, cds_start + 3 * codons, -1),
        "cds_phase": np.where(coding, 0, -1),
        "protein": proteins,
        "coding_status": np.where(coding, "coding", "non_coding"),
        "tags": [[]] * rows,
        "reasons": [[]] * rows,
        "split": np.array(["train", "valid", "test"])[split].repeat(4)[:rows],
        "labels": pa.FixedSizeListArray.from_arrays(
            np.maximum(0, rng.normal(0.8, 1, rows * TISSUES)).astype(np.float32), TISSUES
        ),
    }  # fmt: skip
    pq.write_table(pa.table(columns, schema=schema(TISSUES)), folder / "transcripts.parquet", compression="zstd")
    tissues = [f"tissue {number}" for number in range(TISSUES)]
    facts = {
        "tissues": tissues,
        "samples_per_tissue": dict.fromkeys(tissues, 500),
        "label_reliability": [0.9] * TISSUES,
        "leakage_audit": {"genes": {"count": 0, "blocks": True, "examples": []}},
        "id_matching": {"exact": rows, "annotated_only": 0, "expression_only": 0},
    }
    (folder / "dataset.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


def plain(checks: Sequence[Check], frames: dict[str, pd.DataFrame]) -> dict[str, int]:
    """How many records fail each check, by pandas alone."""
    found = {}
    for check in checks:
        if check.frame not in frames:
            continue
        frame, asked = frames[check.frame], check.arguments
        if check.expectation == "ExpectTableRowCountToBeBetween":
            continue
        values = frame[asked["column"]]
        if check.expectation == "ExpectColumnValuesToBeUnique":
            wrong = values.duplicated(keep=False)
        elif check.expectation == "ExpectColumnValuesToNotBeNull":
            wrong = values.isna()
        elif check.expectation == "ExpectColumnValuesToBeInSet":
            wrong = ~values.isin(asked["value_set"]) & values.notna()
        else:
            low, high = asked.get("min_value"), asked.get("max_value")
            wrong = pd.Series(False, index=frame.index)
            if low is not None:
                wrong |= (values <= low) if asked.get("strict_min") else (values < low)
            if high is not None:
                wrong |= values > high
        frame.loc[wrong].head(10)
        found[f"{check.suite}: {check.name}"] = int(wrong.sum())
    return found


def plain_frames(payload: Path, window_bp: int) -> dict[str, pd.DataFrame]:
    """The extracted table as pandas reads it, with the columns that the checks ask for, by string methods."""
    rows = pd.read_parquet(payload / "transcripts.parquet")
    labels = np.stack(rows["labels"].to_numpy())
    rows["rna_bp"] = rows["rna"].str.len()
    rows["rna_other"] = rows["rna"].str.count("[^ACGTN]")
    rows["unknown_share"] = rows["rna"].str.count("N") / rows["rna_bp"]
    rows["exon_bp"] = [
        int((ends - starts).sum()) for starts, ends in zip(rows["exon_starts"], rows["exon_ends"], strict=True)
    ]
    rows["rna_missing_bp"] = rows["exon_bp"] - rows["rna_bp"]
    rows["past_contig_bp"] = (rows["exon_ends"].str[-1] - CONTIG_BP).clip(lower=0)
    rows["disordered_exons"] = [
        int((starts[1:] < ends[:-1]).sum()) for starts, ends in zip(rows["exon_starts"], rows["exon_ends"], strict=True)
    ]
    rows["window_bp"] = rows["window_end"] - rows["window_start"]
    rows["tss_is_first_base"] = rows["tss"] == rows["exon_starts"].str[0]
    rows["tss_off_centre_bp"] = rows["tss"] - rows["window_start"] - window_bp // 2
    inside = (rows["cds_end"] > rows["cds_start"]) & (rows["cds_end"] <= rows["rna_bp"])
    rows["cds_inside_rna"] = inside | (rows["cds_start"] < 0)
    rows["labels_not_finite"] = (~np.isfinite(labels)).sum(axis=1)
    rows["lowest_label"], rows["highest_label"] = labels.min(axis=1), labels.max(axis=1)
    proteins = rows[rows["protein"].notna()].copy()
    proteins["protein_other"] = proteins["protein"].str.count("[^ACDEFGHIKLMNPQRSTVWYUX*]")
    proteins["read_through_stops"] = proteins["protein"].str.contains("*", regex=False)
    codons = (proteins["cds_end"] - proteins["cds_start"]) // 3
    proteins["residues_off"] = (proteins["protein"].str.len() - codons).abs()
    return {"rows": rows, "proteins": proteins}


def agree(results: Sequence[dict[str, Any]], peer: dict[str, int]) -> None:
    """Both sides count the same failures."""
    compared = 0
    for item in results:
        name = f"{item['suite']}: {item['name']}"
        if name in peer:
            count = (
                0 if item["observed"].startswith("all ") else int(item["observed"].split(" of ")[0].replace(",", ""))
            )
            assert count == peer[name], (name, item["observed"], peer[name])
            compared += 1
    print(f"{compared} checks count the same failures on both sides")


if __name__ == "__main__":
    main()
