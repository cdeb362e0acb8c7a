"""A package with PyTorch weights answers by PyTorch what it answers by ONNX Runtime; here on the CPU."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging_inputs import Packaged
from starlette.testclient import TestClient

from components.package_model.bento import seal
from components.params import load_params


@pytest.fixture
def with_weights(source: Path, package: Packaged) -> Path:
    """The package as `package.torch=true` makes it."""
    shutil.copyfile(package.inputs["model"] / "payload" / "model.safetensors", source / "package/model.safetensors")
    seal(source, json.loads((source / "package" / "about.json").read_text()))
    return source / "package"


def not_ready(client: TestClient) -> str:
    answer = client.post("/v1/predict", json={"items": [{"rna": "ACGT"}]})
    assert answer.status_code == 503
    return str(answer.json()["error"])


def answers(client: TestClient, items: list[dict[str, Any]]) -> np.ndarray:
    told = client.post("/v1/predict", json={"items": items})
    assert told.status_code == 200, told.text
    return np.array([[tissue["log1p_tpm"] for tissue in item["expression"]] for item in told.json()["items"]])


def test_both_backends_give_the_same_numbers(with_weights: Path, start: Any) -> None:
    items = [entry["item"] for entry in json.loads((with_weights / "golden.json").read_text())["entries"]]
    by_onnx = answers(start(package=with_weights), items)
    client = start(package=with_weights, backend="torch")
    by_torch = answers(client, items)
    assert np.abs(by_torch - by_onnx).max() <= 1e-4
    assert by_onnx.std() > 0
    # Windows asked again are not encoded again, and answered alike.
    assert np.abs(answers(client, items) - by_torch).max() <= 1e-6
    (hits,) = re.findall(r'isoformer_dna_windows_total\{outcome="hit"[^}]*\} ([\d.]+)', client.get("/metrics").text)
    assert float(hits) > 0


def test_a_package_without_the_weights_stays_red(start: Any) -> None:
    assert "package.torch=true" in not_ready(start(backend="torch"))


def test_an_unknown_backend_stays_red(start: Any) -> None:
    assert "expected onnx or torch" in not_ready(start(backend="tensorrt"))


def test_the_option_is_off_unless_asked_for() -> None:
    assert load_params(None).package.torch is False
