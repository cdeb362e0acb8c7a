"""Intervals, signs of transcripts unlike the training ones, and drift of what is asked."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging_inputs import Packaged
from starlette.testclient import TestClient

from components.package_model.bento import seal
from components.package_model.profile import describe
from serving.profile import MIN_TRANSCRIPTS, Drift, Profile, stability_index


def predict(client: TestClient, *items: Any) -> Any:
    return client.post("/v1/predict", json={"items": list(items)}).json()


def test_every_prediction_has_its_tissues_interval(client: TestClient) -> None:
    answer = predict(client, {"rna": "ACGT" * 40})
    assert answer["intervals"] == {"method": "split conformal prediction", "coverage": 0.9, "unit": "per gene"}
    for column, entry in enumerate(answer["items"][0]["expression"]):
        interval, offset = entry["interval"], 0.5 + 0.25 * column
        if column == 0:
            assert interval is None
            continue
        assert interval["low_log1p_tpm"] == pytest.approx(max(entry["log1p_tpm"] - offset, 0))
        assert interval["high_log1p_tpm"] == pytest.approx(max(entry["log1p_tpm"] + offset, 0))
        assert interval["low_tpm"] == pytest.approx(np.expm1(interval["low_log1p_tpm"]))
        assert interval["high_tpm"] == pytest.approx(np.expm1(interval["high_log1p_tpm"]))


def test_a_package_without_intervals_answers_null_and_one_of_other_tissues_stays_red(source: Any, start: Any) -> None:
    package = source / "package"
    about = json.loads((package / "about.json").read_text())
    record = json.loads((package / "intervals.json").read_text())
    (package / "intervals.json").write_text(json.dumps({**record, "half_width": {"Moon": 1.0}}))
    seal(source, about)
    client = start(package=package)
    assert "intervals of the model's tissues" in client.get("/v1/model").json()["error"]
    (package / "intervals.json").unlink()
    seal(source, about)
    answer = predict(start(package=package), {"rna": "ACGT" * 40})
    assert answer["intervals"] is None
    assert answer["items"][0]["expression"][0]["interval"] is None


def test_an_item_like_the_training_transcripts_has_no_sign_and_another_says_why(
    client: TestClient, package: Packaged
) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(package.inputs["transcripts"] / "payload" / "transcripts.parquet")
    train = [row["transcript_id"] for row in table.to_pylist() if row["split"] == "train"]
    items = predict(client, {"id": train[1]}, {"rna": "GGGCCC" * 900}, {"protein": "M" * 300})["items"]
    assert items[0]["out_of_distribution"] == []
    codes = [{sign["code"] for sign in item["out_of_distribution"]} for item in items]
    assert codes[1] == {"modalities_unseen", "rna_nt_above_training", "rna_gc_above_training"}
    assert codes[2] == {"modalities_unseen", "protein_residues_above_training"}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["normal", "integers", "constant"]))
def test_drift_is_silent_on_a_resample_and_loud_on_a_shift(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)

    def draw(count: int) -> np.ndarray:
        if kind == "constant":
            return np.full(count, 3.0)
        return rng.normal(size=count) if kind == "normal" else rng.poisson(4, count).astype(float)

    record = json.loads(
        json.dumps({"central_share": 0.998, "modalities": [], "features": {"rna_nt": describe(draw(4000))}})
    )
    same, shifted, few = (Drift(Profile(record)) for _ in range(3))
    for value in draw(2000):
        same.observe({"rna_nt": float(value)})
        shifted.observe({"rna_nt": float(value) + 3})
    for value in draw(MIN_TRANSCRIPTS - 1):
        few.observe({"rna_nt": float(value)})
    assert same.indices()["rna_nt"] < 0.1
    assert few.indices() == {}
    if kind != "constant":
        assert shifted.indices()["rna_nt"] > 0.25


def test_the_index_equals_its_definition() -> None:
    trained, asked = np.array([0.2, 0.3, 0.5]), np.repeat([0, 1, 2], [50, 30, 20])
    shares = np.array([0.5, 0.3, 0.2])
    assert stability_index(trained, asked) == pytest.approx(sum((shares - trained) * np.log(shares / trained)))


def test_metrics_show_drift_once_enough_was_asked(client: TestClient) -> None:
    items = [{"rna": "GGCC" * 30}] * (MIN_TRANSCRIPTS // 2)
    for _ in range(2):
        assert client.post("/v1/predict", json={"items": items}).status_code == 200
    lines = client.get("/metrics").text.splitlines()
    values = [float(line.split()[-1]) for line in lines if line.startswith('isoformer_drift_psi{feature="rna_gc"}')]
    assert values
    assert values[0] > 0.25
