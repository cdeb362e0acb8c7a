"""The service is ready only with the very package that was tested, and says why it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from packaging_inputs import Packaged
from starlette.testclient import TestClient

from components.package_model.bento import seal


def not_ready(client: TestClient) -> str:
    """The reason, after checking that nothing is predicted."""
    answer = client.post("/v1/predict", json={"items": [{"rna": "ACGT"}]})
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert client.get("/v1/model").status_code == 503
    assert "isoformer_ready 0.0" in client.get("/metrics").text
    return str(answer.json()["error"])


def test_golden_answers_that_are_not_reproduced_keep_it_red(source: Path, start: Any) -> None:
    package = source / "package"
    golden = json.loads((package / "golden.json").read_text())
    golden["entries"][2]["log1p_tpm"][1] += 2e-4
    (package / "golden.json").write_text(json.dumps(golden))
    seal(source, json.loads((package / "about.json").read_text()))
    assert "golden item 2" in not_ready(start(package=package))


@pytest.mark.parametrize("name", ["package/model.onnx", "package/golden.json", "serving/normalize.py"])
def test_a_flipped_byte_keeps_it_red(source: Path, start: Any, name: str) -> None:
    file = source / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    reason = not_ready(start(package=source / "package"))
    assert name in reason
    assert "other bytes" in reason


def test_a_missing_or_an_added_file_keeps_it_red(source: Path, start: Any) -> None:
    (source / "package" / "extra.bin").write_bytes(b"x")
    assert "extra.bin" in not_ready(start(package=source / "package"))
    (source / "package" / "extra.bin").unlink()
    (source / "package" / "config.json").unlink()
    assert "no such file" in not_ready(start(package=source / "package"))


def test_a_name_outside_the_package_is_not_followed(source: Path, start: Any) -> None:
    listing = source / "package" / "files.json"
    files = json.loads(listing.read_text())
    files["files"]["../outside.txt"] = "0" * 64
    listing.write_text(json.dumps(files))
    (source.parent / "outside.txt").write_text("x")
    assert "../outside.txt" in not_ready(start(package=source / "package"))


def test_a_reference_with_another_window_keeps_it_red(package: Packaged, start: Any, tmp_path: Path) -> None:
    from components.artifacts import write_artifact, write_json

    with write_artifact(tmp_path / "other", kind="transcripts", inputs={}, config={}) as writer:
        write_json(writer.payload / "dataset.json", {"window_bp": 1024})
    assert "1024 bp" in not_ready(start(reference=tmp_path / "other"))


def test_bentoml_shows_readiness_with_the_reason(
    package: Packaged, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the BentoML service itself: 200 on a whole package, 503 and the reason on a damaged one."""
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "True")
    from serving.service import service

    assert "TimeoutMiddleware" not in str(service.to_asgi().user_middleware), "its timers are never cancelled"
    monkeypatch.setenv("ISOFORMER_SERVE_PACKAGE", str(package.source / "package"))
    with TestClient(service.to_asgi()) as client:
        assert client.get("/livez").status_code == 200
        while "starting" in (answer := client.get("/readyz")).text:
            pass
        assert answer.status_code == 200
        assert client.post("/v1/predict", json={"items": [{"rna": "ACGT"}]}).status_code == 200
        assert client.get("/docs.json").status_code == 404
        assert client.get("/static_content/index.html").status_code == 404
    (source / "package" / "golden.json").write_text("{}")
    monkeypatch.setenv("ISOFORMER_SERVE_PACKAGE", str(source / "package"))
    with TestClient(service.to_asgi()) as client:
        while "starting" in (answer := client.get("/readyz")).text:
            pass
        assert answer.status_code == 503
        assert "golden.json" in answer.text
        assert client.get("/livez").status_code == 200
