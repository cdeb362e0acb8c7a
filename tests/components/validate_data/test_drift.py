"""Drift: alarms on a planted shift, silence on another draw from the same population."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from components.artifacts import open_artifact
from components.params import Params
from components.sections import ExtractParams, ValidateParams
from components.validate_data.drift import continuity_frame, drift_frame, ks_distance, stability_index
from components.validate_data.runner import run_checks
from components.validate_data.table_frames import Dataset
from components.validate_data.table_suites import KEYS, table_checks
from model.errors import InputError

TISSUES = ["Brain", "Liver", "Testis"]


def population(seed: int, genes: int = 3000) -> Dataset:
    """Genes with isoforms that resemble each other, as real ones do."""
    rng = np.random.default_rng(seed)
    isoforms = rng.geometric(0.25, genes)
    gene = np.repeat(np.arange(genes), isoforms)
    rows = len(gene)
    base = rng.normal(1, 1, (genes, 1))[gene]
    rna_bp = np.exp(7.3 + 0.6 * rng.normal(size=genes)[gene] + 0.3 * rng.normal(size=rows)).astype(int) + 60
    coding = (rng.random(genes) < 0.6)[gene]
    frame = pd.DataFrame(
        {
            "transcript_id": [f"{seed}.{index}" for index in range(rows)],
            "gene_id": [f"{seed}.G{index}" for index in gene],
            "gene_type": np.where(coding, "protein_coding", "lncRNA"),
            "contig": np.array([f"chr{n}" for n in range(1, 23)])[rng.integers(0, 22, genes)][gene],
            "strand": np.array(["+", "-"])[rng.integers(0, 2, genes)][gene],
            "rna_bp": rna_bp,
            "exons": rng.geometric(0.15, rows),
            "gc_share": 0.45 + 0.07 * rng.normal(size=genes)[gene],
            "cds_start": np.where(coding, rna_bp // 6, -1),
            "cds_end": np.where(coding, rna_bp // 2, -1),
            "coding_status": np.where(coding, "coding", "non_coding"),
            "split": np.array(["train", "valid", "test"])[np.searchsorted([0.85, 0.9], rng.random(genes))][gene],
        }
    )
    labels = np.maximum(0, base + 0.5 * rng.normal(size=(rows, len(TISSUES)))).astype(np.float32)
    return Dataset({"rows": frame}, labels, {"tissues": TISSUES})


def failed(before: Dataset, now: Dataset) -> dict[str, dict[str, list[str]]]:
    """Statistics that fail, by severity and by kind."""
    frames = {"drift": drift_frame(before, now), "continuity": continuity_frame(before, now)}
    results = run_checks(table_checks(ValidateParams(), ExtractParams()), frames, KEYS)
    found: dict[str, dict[str, list[str]]] = {"block": {}, "warn": {}}
    for item in results:
        if not item["passed"]:
            found[item["severity"]][item["name"]] = [entry[next(iter(entry))] for entry in item["offenders"]]
    return found


@pytest.mark.parametrize("seed", range(6))
def test_another_draw_from_the_same_population_is_silent(seed: int) -> None:
    genes = 3000 if seed % 2 else 150
    assert failed(population(seed, genes), population(seed + 100, genes)) == {"block": {}, "warn": {}}


def test_a_planted_shift_is_told_by_its_own_statistics() -> None:
    before, now = population(1), population(2)
    now.rows["gc_share"] += 0.02
    found = failed(before, now)
    assert found["block"] == {}
    assert found["warn"] == {"no drift (KS)": ["GC content of RNA"]}
    now.labels[:, 1] += 1.0
    now.rows["coding_status"] = "coding"
    found = failed(before, now)
    assert found["block"]["no break (KS)"] == ["expression, Liver"]
    assert set(found["block"]["no break (PSI)"]) == {"coding status", "expression, Liver"}


def test_log10_in_place_of_log1p_and_tpm_in_place_of_logs_break() -> None:
    before, now = population(3), population(4)
    logs = Dataset(now.frames, (now.labels / np.log(10)).astype(np.float32), now.facts)
    tpm = Dataset(now.frames, np.expm1(now.labels), now.facts)
    for changed in (logs, tpm):
        kinds = failed(before, changed)
        told = {name for found in kinds["block"].values() for name in found}
        assert {f"expression, {tissue}" for tissue in TISSUES} <= told


def test_tissues_and_held_out_transcripts_are_followed() -> None:
    before = population(5)
    swapped = Dataset(before.frames, before.labels, {"tissues": TISSUES[::-1]})
    assert "tissues" in failed(before, swapped)["warn"]
    rows = before.rows.copy()
    first = rows.index[rows["split"] == "test"][0]
    rows.loc[first, "split"] = "train"
    moved = Dataset({"rows": rows}, before.labels, before.facts)
    frame = continuity_frame(before, moved)
    assert frame.loc[0, "first"] == rows.loc[first, "transcript_id"]
    assert "held-out transcripts stay held out" in failed(before, moved)["warn"]


def test_distances_are_those_of_their_definitions() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=5000), rng.normal(0.4, 1.2, size=4000)
    assert ks_distance(one, other) == pytest.approx(ks_2samp(one, other).statistic)
    assert ks_distance(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == 1.0
    # By hand: shares (0.5, 0.5) and (0.25, 0.75): (0.25 − 0.5) ln(0.5) + (0.75 − 0.5) ln(1.5).
    index, bins = stability_index(np.array(["a", "b"] * 5000), np.array(["a", "b", "b", "b"] * 2500))
    assert bins == 2
    assert index == pytest.approx(-0.25 * np.log(0.5) + 0.25 * np.log(1.5), abs=1e-3)
    # Mostly zeros, as labels are: few bins, and a change of the share of zeros is seen.
    zeros = np.where(rng.random(10_000) < 0.7, 0.0, rng.exponential(size=10_000))
    fewer = np.where(rng.random(10_000) < 0.4, 0.0, rng.exponential(size=10_000))
    assert stability_index(zeros, zeros)[0] == 0
    assert stability_index(zeros, fewer)[0] > 0.3
    assert stability_index(np.zeros(10), np.zeros(10)) == (0.0, 2)


def test_extraction_compares_with_the_previous_dataset_and_stops_at_a_break(
    raw_inputs: dict[str, Path], transcripts: Path, sanity_params: Params, tmp_path: Path
) -> None:
    """The same data again pass; with TPM in another unit they do not, and nothing is written."""
    from components.extract_sequences.step import run
    from components.validate_data.step import run as validate

    inputs = {**raw_inputs, "validation": transcripts.parent / "validation", "previous": transcripts}
    run(inputs, sanity_params, tmp_path / "same", tmp_path / "work")
    content = json.loads((tmp_path / "same" / "payload" / "checks.json").read_text(encoding="utf-8"))
    facts = json.loads((transcripts / "payload" / "dataset.json").read_text(encoding="utf-8"))
    assert content["previous_dataset_version"] == content["dataset_version"] == facts["dataset_version"]
    assert max(item["psi"] for item in content["drift"]) == 0
    assert open_artifact(tmp_path / "same", "transcripts").manifest["inputs"].keys() == inputs.keys()
    table = gzip.decompress(raw_inputs["expression"].read_bytes()).decode().splitlines()
    for index, line in enumerate(table[3:], start=3):
        names, values = line.split("\t")[:2], line.split("\t")[2:]
        table[index] = "\t".join([*names, *(f"{float(value) / 30:.4f}" for value in values)])
    (tmp_path / "raw.gct").write_text("\n".join(table) + "\n")
    scaled = {**raw_inputs, "expression": tmp_path / "raw.gct"}
    validate(scaled, sanity_params, tmp_path / "validation", tmp_path / "work")
    inputs = {**scaled, "validation": tmp_path / "validation", "previous": transcripts}
    expected = r"drift from the previous dataset check 'no break \(KS\)'.*expression, "
    with pytest.raises(InputError, match=expected) as error:
        run(inputs, sanity_params, tmp_path / "other", tmp_path / "work")
    report = Path(str(error.value).split(": ")[-1])
    assert "Drift" in report.read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {"same", "work", "raw.gct", "validation"}
