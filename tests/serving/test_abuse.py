"""What clients and machines do to a server: bodies of every kind, floods, kills, stops. Nothing is lost silently."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from packaging_inputs import Packaged
from running_server import bentoml_process, descendants, resident_mib, serving

from serving.client import Client, ServiceError

RNA = "ACGTTGCA" * 12
BODY = json.dumps({"items": [{"rna": RNA}]}).encode()
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def address(package: Packaged) -> Iterator[str]:
    reference = package.inputs["transcripts"]
    with serving(package=package.source / "package", reference=reference, deadline_s=3, max_body_bytes=1_000_000) as at:
        yield at


def connect(address: str) -> tuple[str, int]:
    host, port = address.removeprefix("http://").split(":")
    return host, int(port)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_request_that_the_description_allows_or_forbids_is_a_server_error(address: str) -> None:
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    # The two probes are BentoML's own routes; here the application runs without it.
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json").exclude(path=["/livez", "/readyz"])
    asked: Counter[str] = Counter()
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=40,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        )
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            case.call_and_validate(checks=checks, timeout=20)
            asked[case.operation.label] += 1

        ask()
    assert asked["POST /v1/predict"] >= 20
    assert asked["POST /v1/effect"] >= 20
    assert set(asked) >= {"GET /v1/model", "GET /v1/transcripts", "GET /metrics"}


def test_a_body_that_trickles_is_cut_off_at_the_deadline_and_harms_no_one(address: str) -> None:
    with socket.create_connection(connect(address)) as slow:
        slow.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n")
        slow.sendall(f"content-length: {len(BODY)}\r\n\r\n".encode() + BODY[:20])
        started = time.monotonic()
        assert Client(address).predict([{"rna": RNA}])["items"][0]["expression"]
        slow.settimeout(30)
        assert b" 408 " in slow.recv(4096).split(b"\r\n")[0]
        assert time.monotonic() - started >= 2.5


def test_a_huge_body_is_refused_before_it_is_read(address: str) -> None:
    connection = http.client.HTTPConnection(*connect(address), timeout=20)
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(2000):
            sent += 100_000
            yield b" " * 100_000

    try:
        connection.request("POST", "/v1/predict", chunks(), JSON, encode_chunked=True)
        status = connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        status = 413  # the server closed while we were still sending
    assert status == 413
    assert sent < 50_000_000
    connection.close()


def test_ten_thousand_items_are_refused_at_once(address: str) -> None:
    started = time.monotonic()
    with pytest.raises(ServiceError, match="10,000 items; at most 256"):
        Client(address).predict([{"rna": "ACGT"}] * 10_000)
    assert time.monotonic() - started < 10


def flood(client: Client, seconds: float, answers: list[Any], threads: int = 4) -> list[threading.Thread]:
    """Ask without pause; each request ends as an answer, a refusal, or a broken connection in `answers`."""
    end = time.monotonic() + seconds

    def ask() -> None:
        while time.monotonic() < end:
            try:
                answers.append(client.predict([{"rna": RNA}])["items"][0]["expression"])
            except (ServiceError, OSError, http.client.HTTPException) as error:
                answers.append(error)
                time.sleep(0.05)

    started = [threading.Thread(target=ask, daemon=True) for _ in range(threads)]
    for thread in started:
        thread.start()
    return started


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["worker", "its parent"])
def test_a_killed_server_comes_back_and_loses_no_answer_silently(package: Packaged, killed: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = f"import sys; from serving.serve import main; sys.exit(main({str(package.out)!r}, port={port}))"
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        try:
            client = Client(f"http://127.0.0.1:{port}")
            client.wait_ready(60)
            expected = client.predict([{"rna": RNA}])["items"][0]["expression"]
            answers: list[Any] = []
            threads = flood(client, 10, answers)
            time.sleep(1)
            parent, worker = descendants(process.pid)
            os.kill(worker if killed == "worker" else parent, signal.SIGKILL)
            for thread in threads:
                thread.join(90)
                assert not thread.is_alive(), "a request was left without an end"
            good = [answer for answer in answers if not isinstance(answer, Exception)]
            broken = [answer for answer in answers if isinstance(answer, Exception)]
            assert all(answer == expected for answer in good)
            assert broken, "the kill was not felt"
            # A connection that broke, or refused as not ready while it starts anew: never another server error.
            assert {error.status for error in broken if isinstance(error, ServiceError)} <= {503}
            client.wait_ready(60)
            assert client.predict([{"rna": RNA}])["items"][0]["expression"] == expected
            assert worker not in descendants(process.pid)
            assert not Path(f"/proc/{worker}").exists(), "an orphan goes on answering"
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


@pytest.mark.slow
def test_sigterm_drains_what_was_accepted(package: Packaged, tmp_path: Path) -> None:
    bento = package.out / "payload" / "bento"
    items = [{"rna": "ACGT" * 300}] * 200
    with bentoml_process(bento, tmp_path) as (client, process), ThreadPoolExecutor(6) as pool:
        accepted = [pool.submit(client.predict, items) for _ in range(6)]
        time.sleep(0.4)
        process.send_signal(signal.SIGTERM)
        assert all(len(one.result(60)["items"]) == len(items) for one in accepted)
        assert process.wait(30) in (0, -signal.SIGTERM)
        with pytest.raises(OSError, match="refused"):
            client.predict(items[:1])


@pytest.mark.slow
def test_ten_thousand_requests_leave_memory_flat(package: Packaged, tmp_path: Path) -> None:
    bento = package.out / "payload" / "bento"

    def ask(port: int, count: int) -> Counter[int]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        statuses: Counter[int] = Counter()
        for _ in range(count):
            connection.request("POST", "/v1/predict", BODY, JSON)
            response = connection.getresponse()
            response.read()
            statuses[response.status] += 1
        connection.close()
        return statuses

    with bentoml_process(bento, tmp_path) as (client, process), ThreadPoolExecutor(4) as pool:
        port = connect(client.url)[1]

        def ask_many(count: int) -> float:
            statuses = sum(pool.map(ask, [port] * 4, [count // 4] * 4), Counter[int]())
            assert statuses == {200: count}
            return resident_mib(process.pid)

        settled = ask_many(1_000)
        assert ask_many(10_000) - settled < 8, "MiB"
