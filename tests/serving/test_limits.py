"""Load and size are bounded: 413, 422, 429 with Retry-After, 504, never a 5xx of ours for a client's doing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from packaging_inputs import Packaged
from running_server import bentoml_process
from starlette.testclient import TestClient

from model.batch import TranscriptInput
from model.errors import InputError
from serving.app import build_app
from serving.engine import Engine, Predicted
from serving.server import Server
from serving.settings import Settings

RNA = "ACGT" * 10


def test_a_body_over_the_limit_is_refused_with_and_without_its_length(start: Any) -> None:
    client: TestClient = start(max_body_bytes=1000)
    headers = {"content-type": "application/json"}

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 100

    assert client.post("/v1/predict", content=b" " * 1001, headers=headers).status_code == 413
    assert client.post("/v1/predict", content=chunks(), headers=headers).status_code == 413
    assert client.post("/v1/predict", json={"items": [{"rna": RNA}]}).status_code == 200


def test_items_and_residues_are_limited(start: Any) -> None:
    client: TestClient = start(max_items=3, max_residues=100)
    assert client.post("/v1/predict", json={"items": [{"rna": RNA}] * 3}).status_code == 200
    many = client.post("/v1/predict", json={"items": [{"rna": RNA}] * 4})
    assert (many.status_code, many.json()["details"][0]["field"]) == (422, "items")
    long = client.post("/v1/predict", json={"items": [{"rna": RNA * 3}]})
    assert (long.status_code, long.json()["details"][0]["field"]) == (422, "rna")


def test_an_unknown_setting_is_named(start: Any) -> None:
    client: TestClient = start(max_itmes=3)
    answer = client.post("/v1/predict", json={"items": [{"rna": RNA}]})
    assert answer.status_code == 503
    assert "ISOFORMER_SERVE_MAX_ITMES" in answer.json()["error"]


async def _flood(requests: int) -> list[httpx.Response]:
    """Send `requests` at once to a server that has just become ready."""
    server = Server()
    app = build_app(server)
    async with app.router.lifespan_context(app):
        while server.not_ready == "starting":
            await asyncio.sleep(0.01)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            body = {"items": [{"rna": RNA}]}
            return list(await asyncio.gather(*(client.post("/v1/predict", json=body) for _ in range(requests))))


@pytest.fixture
def slow_engine(package: Packaged, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packaged model, made to take at least 0.2 s per batch."""

    class SlowEngine(Engine):
        def predict(self, transcripts: Sequence[TranscriptInput]) -> list[Predicted]:
            time.sleep(0.2)
            return super().predict(transcripts)

    monkeypatch.setattr("serving.server.Engine", SlowEngine)
    monkeypatch.setenv("ISOFORMER_SERVE_PACKAGE", str(package.source / "package"))


@pytest.mark.usefixtures("slow_engine")
def test_overload_is_answered_429_with_retry_after_and_never_5xx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOFORMER_SERVE_QUEUE_TOKENS", "200")
    monkeypatch.setenv("ISOFORMER_SERVE_BUDGET_TOKENS", "50")
    answers = asyncio.run(_flood(60))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 429)
    # 12 tokens each: sixteen fit the queue, and at most four more were taken from it while the others came.
    assert 16 <= statuses.count(200) <= 20


@pytest.mark.usefixtures("slow_engine")
def test_an_answer_that_comes_too_late_is_504(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOFORMER_SERVE_DEADLINE_S", "0.1")
    (answer,) = asyncio.run(_flood(1))
    assert answer.status_code == 504


@pytest.mark.parametrize(
    ("variable", "value"), [("ISOFORMER_SERVE_THREADS", "many"), ("ISOFORMER_SERVE_DEADLINE_S", "0")]
)
def test_a_setting_that_cannot_be_used_is_named(variable: str, value: str) -> None:
    with pytest.raises(InputError, match=variable):
        Settings.from_environment({variable: value})


def test_headers_without_an_end_are_cut_off_and_long_bodies_are_not(package: Packaged, tmp_path: Path) -> None:
    """In the real server, whose reader of requests has no bound of its own."""
    items = [{"rna": "ACGT" * 20_000}]
    with bentoml_process(package.out / "payload" / "bento", tmp_path, threads=1) as (client, _):
        host, port = client.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(b"GET /v1/model HTTP/1.1\r\nhost: x\r\nx-endless: ")
            sent, answer = 0, b""
            with contextlib.suppress(ConnectionError):
                while sent < 10_000_000:
                    connection.sendall(b"a" * 65_536)
                    sent += 65_536
            with contextlib.suppress(ConnectionError):
                answer = connection.recv(1_000)
        assert sent < 10_000_000
        assert not answer or b" 431 " in answer
        assert len(client.predict(items)["items"]) == 1
        assert client.model()["version"]
