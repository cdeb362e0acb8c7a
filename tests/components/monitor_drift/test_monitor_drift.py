"""Drift of served transcripts: a shift is told, none is not; PSI and KS equal those of their definitions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import ks_2samp

from components.artifacts import open_artifact
from components.monitor_drift.compare import compare
from components.monitor_drift.step import run
from components.package_model.profile import describe
from components.params import Params
from model.errors import InputError

VERSION = "0123456789abcdef-01234567"
TISSUES = ("Blood", "Brain", "Liver")
RNG_SEED = 3


def trained_values(count: int = 4_000) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(RNG_SEED)
    return {
        "rna_nt": rng.lognormal(7, 0.8, count),
        "rna_gc": rng.normal(0.48, 0.06, count),
        "predicted_log1p_tpm": rng.gamma(2, 0.6, count),
    }


def write_package(folder: Path) -> Path:
    folder.mkdir()
    features = {name: dict(describe(values)) for name, values in trained_values().items()}
    (folder / "profile.json").write_text(json.dumps({"features": features}))
    (folder / "about.json").write_text(json.dumps({"version": VERSION, "simulated": True}))
    return folder


def write_observations(folder: Path, shift: float, count: int, *, version: str = VERSION, seed: int = 9) -> Path:
    """As a server records them: RNAs longer by a factor, all else as in training."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    absent = pa.nulls(count, pa.float32())
    predicted = rng.gamma(2, 0.6, count)[:, None].repeat(len(TISSUES), axis=1).astype(np.float32)
    table = pa.table(
        {
            "rna_nt": pa.array(rng.lognormal(7 + shift, 0.8, count).astype(np.float32)),
            "protein_residues": absent,
            "rna_gc": pa.array(rng.normal(0.48, 0.06, count).astype(np.float32)),
            "dna_gc": absent,
            "rna_unknown": absent,
            "dna_unknown": absent,
            "predicted": pa.FixedSizeListArray.from_arrays(pa.array(predicted.reshape(-1)), len(TISSUES)),
        }
    ).replace_schema_metadata({"tissues": json.dumps(TISSUES), "model": json.dumps({"version": version})})
    pq.write_table(table, folder / f"observations-{seed:04d}-server-0.parquet")
    return folder


@pytest.mark.parametrize(
    ("shift", "count", "verdict", "moved"),
    [(0.0, 2_000, "stable", []), (1.0, 2_000, "drift", ["rna_nt"]), (1.0, 100, "too few", [])],
)
def test_only_what_moved_is_told(tmp_path: Path, shift: float, count: int, verdict: str, moved: list[str]) -> None:
    inputs = {
        "package": write_package(tmp_path / "package"),
        "observations": write_observations(tmp_path / "observations", shift, count),
    }
    run(inputs, Params(), tmp_path / "drift", tmp_path / "work")
    payload = open_artifact(tmp_path / "drift", "drift").payload
    record = json.loads((payload / "drift.json").read_text())
    assert (record["verdict"], record["moved"], record["transcripts"]) == (verdict, moved, count)
    page = (payload / "report.html").read_text()
    assert verdict.capitalize() in page
    assert "SIMULATED" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_psi_and_ks_equal_their_definitions() -> None:
    trained = trained_values(4_000)
    features = {name: dict(describe(values)) for name, values in trained.items()}
    asked = {name: values * 1.3 for name, values in trained_values(1_000).items()}
    for item in compare(asked, features, least=100):
        edges = np.array(features[item.name]["edges"])
        bins = [np.searchsorted(edges, values, side="right") for values in (asked[item.name], trained[item.name])]
        ours, theirs = (np.bincount(one, minlength=10) / len(one) for one in bins)
        ours = np.maximum(ours, 0.5 / 1_000)
        assert item.psi == pytest.approx(((ours - theirs) * np.log(ours / theirs)).sum())
        whole = ks_2samp(asked[item.name], trained[item.name])
        # Known at the edges alone, it can miss no more than a bin holds.
        assert whole.statistic - 0.1 <= item.ks <= whole.statistic + 1e-12
        assert item.p_value < 0.01


def test_absent_figures_and_too_few_values_are_left_out() -> None:
    features = {name: dict(describe(values)) for name, values in trained_values().items()}
    values = {"rna_nt": np.full(400, np.nan), "rna_gc": np.linspace(0.3, 0.6, 50), "other": np.ones(500)}
    assert compare(values, features, least=100) == []


def test_files_of_other_models_are_counted_and_left_out(tmp_path: Path) -> None:
    package = write_package(tmp_path / "package")
    folder = write_observations(tmp_path / "observations", 2.0, 900, version="f" * 16 + "-00000000", seed=1)
    with pytest.raises(InputError, match="1 files of other models"):
        run({"package": package, "observations": folder}, Params(), tmp_path / "drift", tmp_path / "work")
    write_observations(folder, 0.0, 900, seed=2)
    run({"package": package, "observations": folder}, Params(), tmp_path / "drift", tmp_path / "work")
    record = json.loads((tmp_path / "drift" / "payload" / "drift.json").read_text())
    assert (record["verdict"], record["files_of_other_models"]) == ("stable", 1)


def test_a_damaged_file_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    package = write_package(tmp_path / "package")
    folder = tmp_path / "observations"
    folder.mkdir()
    inputs = {"package": package, "observations": folder}
    with pytest.raises(InputError, match="no such file"):
        run(inputs, Params(), tmp_path / "drift", tmp_path / "work")
    (folder / "observations-1-server-0.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(InputError, match="observations-1-server-0"):
        run(inputs, Params(), tmp_path / "drift", tmp_path / "work")
    assert not (tmp_path / "drift").exists()
