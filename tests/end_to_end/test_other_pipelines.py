"""The prediction and the monitoring pipeline by kfp's local runner, with a model that was packaged and registered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from packaging_inputs import TISSUES, Packaged, packaged

from components.artifacts import open_artifact
from components.registry import Registry

ROOT = Path(__file__).parents[2]
ISOFORMER = str(Path(sys.executable).parent / "isoformer")
# The packaged model has three tissues: no champion for a model of thirty.
OVERRIDES = ("runtime.threads=1", "evaluate.champion=false")
SANITY = ["--params", str(ROOT / "params.yaml"), "--preset", "sanity", *(f"--set={item}" for item in OVERRIDES)]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    return packaged(tmp_path_factory.getbasetemp())


def run(place: Path, raw: dict[str, Path], package: Packaged, *arguments: str) -> subprocess.CompletedProcess[str]:
    common = ["--data", str(raw["genome"].parent), "--registry", str(package.registry), "--out", "run"]
    return subprocess.run(
        [ISOFORMER, "pipeline", "run", *SANITY, *common, *arguments],
        cwd=place,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_annotation_and_variants_are_predicted(
    raw_inputs: dict[str, Path], package: Packaged, tmp_path: Path
) -> None:
    done = run(tmp_path, raw_inputs, package, "--pipeline", "prediction")
    assert done.returncode == 0, done.stderr
    payload = open_artifact(tmp_path / "run" / "predictions", "predictions").payload
    assert pq.read_table(payload / "predictions.parquet").num_rows == 300
    assert "batch_predict" in (tmp_path / "run" / "summary.md").read_text()
    # A file that is not there is refused before anything starts.
    again = run(tmp_path, raw_inputs, package, "--pipeline", "prediction", "--variants", "none.vcf", "--out", "second")
    assert again.returncode == 2
    assert "none.vcf" in again.stderr
    assert not (tmp_path / "second").exists()


def drawn(feature: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    """800 values of the training data's bins."""
    borders = np.array([feature["low"], *feature["edges"], feature["high"]])
    bins = rng.choice(len(feature["share"]), 800, p=feature["share"])
    # Just inside: a value at a border belongs to the next bin.
    return borders[bins] + 0.5 * (borders[bins + 1] - borders[bins])


def observe(folder: Path, package: Packaged, version: str, factor: float) -> Path:
    """What a server would have recorded of 800 RNAs, longer than the training data's by a factor."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    trained = json.loads((package.source / "package" / "profile.json").read_text())["features"]
    predicted = np.zeros(800)
    if "predicted_log1p_tpm" in trained:
        predicted = drawn(trained["predicted_log1p_tpm"], rng)
    names = ("rna_gc", "protein_residues", "dna_gc", "rna_unknown", "dna_unknown")
    flat = pa.array(predicted.repeat(len(TISSUES)).astype(np.float32))
    table = pa.table(
        {
            "rna_nt": pa.array((drawn(trained["rna_nt"], rng) * factor).astype(np.float32)),
            **dict.fromkeys(names, pa.nulls(800, pa.float32())),
            "predicted": pa.FixedSizeListArray.from_arrays(flat, len(TISSUES)),
        }
    ).replace_schema_metadata({"tissues": json.dumps(TISSUES), "model": json.dumps({"version": version})})
    pq.write_table(table, folder / "observations-1-server-0.parquet")
    return folder


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "stable"), (20.0, "drift")])
def test_only_drift_starts_a_training(
    raw_inputs: dict[str, Path], package: Packaged, tmp_path: Path, factor: float, verdict: str
) -> None:
    champion = Registry(package.registry).champion()
    assert champion is not None
    recorded = observe(tmp_path / "recorded", package, champion["version"], factor)
    done = run(tmp_path, raw_inputs, package, "--pipeline", "monitoring", "--observations", str(recorded))
    assert done.returncode == 0, done.stderr
    assert f"Monitoring: {verdict}" in done.stdout
    summary = (tmp_path / "run" / "summary.md").read_text()
    assert ("train_model" in summary) == (verdict == "drift")
    # A network of 20 steps is not blessed: the champion stays.
    assert Registry(package.registry).champion() == champion
