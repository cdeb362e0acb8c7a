"""What the server records for monitoring: features and predictions, in bounded files, never a sequence or an id."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from packaging_inputs import TISSUES, Packaged
from starlette.testclient import TestClient

from model.errors import InputError
from serving.observations import FEATURES, PATTERN, Observation, Observations
from serving.profile import stability_index

RNA = "ACGTTGCAAT" * 12
ABOUT = {"version": "v", "model_digest": "m", "dataset_version": "d", "simulated": True}


def one(value: float = 1.0) -> Observation:
    features = {"rna_nt": value, "rna_gc": 0.5}
    return Observation(
        route="/v1/predict", modalities=("rna",), features=features, signs=(), log1p_tpm=np.full(3, value, np.float32)
    )


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob(PATTERN))


def test_a_server_records_what_it_answered_and_no_sequence(package: Packaged, start: Any, tmp_path: Path) -> None:
    folder = tmp_path / "observations"
    client: TestClient = start(observations_dir=folder, reference=package.inputs["transcripts"])
    items = [{"rna": RNA}, {"id": "SIMT00000000001"}, {"rna": RNA.lower(), "protein": "MKV"}]
    answer = client.post("/v1/predict", json={"items": items}).json()
    client.post("/v1/effect", json={"items": [{"reference": items[0], "alternative": items[2]}]})
    client.__exit__(None, None, None)
    (file,) = files(folder)
    table = pq.read_table(file)
    names = ["time", "route", "modalities", *FEATURES, "out_of_distribution", "predicted"]
    assert table.column_names == names
    assert table.column("route").to_pylist() == ["/v1/predict"] * 3 + ["/v1/effect"] * 2
    assert table.column("modalities").to_pylist()[:3] == ["rna", "dna+rna+protein", "rna+protein"]
    assert table.column("rna_nt").to_pylist()[0] == len(RNA)
    assert table.column("protein_residues").to_pylist()[0] is None
    found = np.array(table.column("predicted").to_pylist()[:3])
    expected = [[entry["log1p_tpm"] for entry in item["expression"]] for item in answer["items"]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    signs = [[note["code"] for note in item["out_of_distribution"]] for item in answer["items"]]
    assert table.column("out_of_distribution").to_pylist()[:3] == signs
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert json.loads(metadata["tissues"]) == list(TISSUES)
    assert json.loads(metadata["model"])["version"] == answer["provenance"]["version"]
    assert metadata["schema_version"] == "1"
    text = json.dumps(table.to_pylist(), default=str)
    assert RNA[:20] not in text
    assert "SIMT" not in text


def test_recorded_features_are_those_of_the_training_profile(package: Packaged, start: Any, tmp_path: Path) -> None:
    """A monitoring step finds every feature of profile.json as a column, and can bin it as the server does."""
    client: TestClient = start(observations_dir=tmp_path, reference=package.inputs["transcripts"])
    client.post("/v1/predict", json={"items": [{"id": f"SIMT{index:011d}"} for index in range(12)]})
    client.__exit__(None, None, None)
    table = pq.read_table(files(tmp_path)[0])
    profile = json.loads((package.source / "package" / "profile.json").read_text())["features"]
    for name in FEATURES:
        column = np.array([value for value in table.column(name).to_pylist() if value is not None])
        bins = np.searchsorted(profile[name]["edges"], column, side="right")
        assert np.isfinite(stability_index(np.array(profile[name]["share"]), bins))


def test_a_block_is_written_when_full_and_when_another_model_answers(tmp_path: Path) -> None:
    observations = Observations(tmp_path, block_rows=3, max_bytes=10**9)
    observations.record(ABOUT, TISSUES, [one(), one()])
    assert not files(tmp_path)
    observations.record(ABOUT, TISSUES, [one()])
    observations.record(ABOUT, TISSUES, [one()])
    observations.record({**ABOUT, "version": "w"}, TISSUES, [one()])
    observations.close()
    tables = [pq.read_table(file) for file in files(tmp_path)]
    assert [len(table) for table in tables] == [3, 1, 1]
    assert [json.loads(table.schema.metadata[b"model"])["version"] for table in tables] == ["v", "v", "w"]


def test_the_folder_stays_below_its_bound_and_loses_the_oldest(tmp_path: Path) -> None:
    observations = Observations(tmp_path, block_rows=10, max_bytes=30_000)
    for number in range(30):
        observations.record(ABOUT, TISSUES, [one(float(number))] * 10)
        observations._blocks[-1].result()
    observations.close()
    assert sum(file.stat().st_size for file in files(tmp_path)) <= 30_000
    kept = [pq.read_table(file).column("rna_nt")[0].as_py() for file in files(tmp_path)]
    assert kept == [float(number) for number in range(30 - len(kept), 30)]
    assert 1 < len(kept) < 30


def test_a_folder_that_vanishes_costs_rows_and_no_answer(tmp_path: Path) -> None:
    lost: list[int] = []
    observations = Observations(tmp_path / "gone", block_rows=2, max_bytes=10**6, lost=lost.append)
    (tmp_path / "gone").rmdir()
    observations.record(ABOUT, TISSUES, [one(), one()])
    observations.close()
    assert lost == [2]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_told_at_start(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="may write observations"):
        Observations(tmp_path / "inside", block_rows=2, max_bytes=10**6)


def test_a_server_whose_folder_is_a_file_stays_red(start: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    client: TestClient = start(observations_dir=tmp_path / "file")
    assert "observations" in client.get("/v1/model").json()["error"]
