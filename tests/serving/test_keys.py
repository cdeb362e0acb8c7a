"""API keys keep everyone else out, spans hold no input, and a bad key file keeps the service red."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from model.errors import InputError
from serving.keys import read_keys

KEY = "correct-horse-battery-staple"
RNA = {"items": [{"rna": "ACGT" * 9}]}


@pytest.fixture
def guarded(start: Any, tmp_path: Path) -> TestClient:
    file = tmp_path / "keys"
    file.write_text(f"# ours\nanother-long-enough-key\n{KEY}\n")
    client: TestClient = start(api_keys_file=file)
    return client


def test_only_a_known_key_may_ask(guarded: TestClient) -> None:
    for headers in (
        {},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer"},
        {"x-api-key": ""},
        {"x-api-key": "ä".encode()},
    ):
        answer = guarded.post("/v1/predict", json=RNA, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["request_id"]
    for path in ("/v1/model", "/metrics", "/v1/transcripts", "/nowhere"):
        assert guarded.get(path).status_code == 401
    for headers in ({"authorization": f"bearer {KEY}"}, {"x-api-key": KEY}):
        assert guarded.post("/v1/predict", json=RNA, headers=headers).status_code == 200
    for path in ("/", "/static/page.js", "/openapi.json"):
        assert guarded.get(path).status_code == 200


def test_a_key_file_that_keeps_no_one_out_is_refused(start: Any, tmp_path: Path) -> None:
    for content in ("", "# none\n", "short\n"):
        (tmp_path / "keys").write_text(content)
        with pytest.raises(InputError, match="one per line"):
            read_keys(str(tmp_path / "keys"))
    client: TestClient = start(api_keys_file=tmp_path / "absent")
    answer = client.post("/v1/predict", json=RNA)
    assert answer.status_code == 503
    assert "API keys" in answer.json()["error"]


def test_spans_hold_routes_and_counts_and_no_sequence(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    memory, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setattr("serving.tracing._tracer", provider.get_tracer("test"))
    client: TestClient = start()
    memory.clear()
    client.post("/v1/predict", json=RNA)
    client.post("/v1/predict", json={"items": [{"rna": "ACGTACGTACGT!"}]})
    spans = memory.get_finished_spans()
    statuses = [span.attributes["http.response.status_code"] for span in spans if span.name == "/v1/predict"]
    assert statuses == [200, 422]
    assert [span.attributes["transcripts"] for span in spans if span.name == "predict"] == [1]
    assert not any("ACGT" in span.to_json() for span in spans)
