"""What the service shows: model, metrics, OpenAPI, and a page with nothing from elsewhere in it."""

from __future__ import annotations

import json
import re
from typing import Any

from packaging_inputs import TISSUES
from starlette.testclient import TestClient

from serving.app import STATIC
from serving.client import format_answer
from serving.openapi import openapi


def test_the_model_is_described_with_its_limits(client: TestClient) -> None:
    model = client.get("/v1/model").json()
    assert model["tissues"] == list(TISSUES)
    assert model["limits"]["window_bp"] == 512
    assert model["metrics"]["r2"]["value"] == 0.5
    assert model["card"].startswith("# Model card")
    assert model["simulated"] is True


def test_the_page_and_its_files_come_from_the_service_alone(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for file in STATIC.iterdir():
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"https?:|//[a-z0-9-]+\.[a-z]", text), file.name
        assert not re.search(r"\son[a-z]+=|<script>|<style>|style=", text), (
            f"{file.name}: inline code is refused by the policy"
        )
    for name in re.findall(r'(?:src|href)="(/[^"]+)"', page.text):
        assert client.get(name).status_code == 200


def test_metrics_count_requests_items_and_batches(client: TestClient) -> None:
    client.post("/v1/predict", json={"items": [{"rna": "ACGN"}, {"rna": "?"}], "partial": True})
    text = client.get("/metrics").text
    for line in (
        'isoformer_requests_total{route="/v1/predict",status="200"}',
        'isoformer_items_total{outcome="refused"}',
        'isoformer_notes_total{code="unknown_to_n",field="rna"}',
        "isoformer_batch_tokens_count",
        "isoformer_ready 1.0",
    ):
        assert line in text


def test_unknown_paths_and_methods_are_told_in_json(client: TestClient) -> None:
    assert client.get("/nowhere").status_code == 404
    assert client.get("/nowhere").json()["error"] == "Not Found"
    assert client.get("/v1/predict").status_code in (404, 405)
    assert client.delete("/v1/model").status_code in (404, 405)


def test_openapi_describes_every_route_and_its_references_resolve() -> None:
    document = openapi()
    text = json.dumps(document)
    schemas = document["components"]["schemas"]
    for name in re.findall(r"#/components/schemas/(\w+)", text):
        assert name in schemas
    assert {"/v1/predict", "/v1/model", "/livez", "/readyz", "/metrics"} <= document["paths"].keys()


def test_the_openapi_example_is_answered(client: TestClient) -> None:
    (example,) = openapi()["components"]["schemas"]["PredictRequest"]["examples"]
    sequences = {**example, "items": [item for item in example["items"] if "id" not in item]}
    assert client.post("/v1/predict", json=sequences).status_code == 200


def test_the_client_shows_tissues_highest_first(client: TestClient) -> None:
    answer: dict[str, Any] = client.post("/v1/predict", json={"items": [{"rna": "ACGT " * 9}]}).json()
    lines = format_answer(answer, tissues=2).splitlines()
    ranked = sorted(answer["items"][0]["expression"], key=lambda entry: -entry["log1p_tpm"])
    assert ranked[0]["tissue"] in lines[1]
    assert ranked[1]["tissue"] in lines[2]
    assert "white space was dropped" in lines[3]
    assert "simulated" in lines[-1]
