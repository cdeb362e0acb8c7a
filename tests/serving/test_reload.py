"""A new champion takes over under load without a lost request; a bad one is refused, and the old one goes on."""

from __future__ import annotations

import json
import shutil
import threading
import time
import urllib.request
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging_inputs import Packaged
from running_server import bentoml_process, serving
from starlette.testclient import TestClient

from components.package_model.bento import seal
from components.registry import Registry
from model.errors import InputError
from serving import serve
from serving.client import Client
from serving.follow import Target, read_target, write_target

ITEMS = [{"rna": "ACGTTGCA" * 12, "protein": "MKVLA"}, {"rna": "TTGCA" * 9}]


def renamed(source: Path, folder: Path, version: str) -> Path:
    """The same model packaged as another version; its package folder."""
    copy = Path(shutil.copytree(source, folder / version))
    about = json.loads((copy / "package" / "about.json").read_text())
    seal(copy, {**about, "version": version})
    return copy / "package"


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def log1p(answer: Any) -> list[list[float]]:
    return [[entry["log1p_tpm"] for entry in item["expression"]] for item in answer["items"]]


def version_of(client: Client) -> str:
    return str(client.model()["version"])


def versions_of(answers: list[Any]) -> set[str]:
    return {str(answer["provenance"]["version"]) for answer in list(answers)}


def test_reload_under_load_drops_nothing(package: Packaged, tmp_path: Path) -> None:
    file = tmp_path / "target.json"
    first = package.source / "package"
    with serving(package=first, follow=file, follow_seconds=0.05, threads=1, window_cache_bytes=10**6) as address:
        client = Client(address)
        expected = log1p(client.predict(ITEMS))
        before = version_of(client)
        ended, answers, failures = threading.Event(), [], []

        def ask() -> None:
            mine = Client(address)
            while not ended.is_set():
                try:
                    answers.append(mine.predict(ITEMS))
                except Exception as error:
                    failures.append(error)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for version in ("second", "third"):
            write_target(file, Target(str(renamed(package.source, tmp_path, version))))
            # Not only served, but seen to answer those who ask on.
            until(lambda version=version: version in versions_of(answers))  # type: ignore[misc]
        ended.set()
        for thread in threads:
            thread.join(60)
        assert not failures
        assert versions_of(answers) == {before, "second", "third"}
        for answer in answers:
            np.testing.assert_allclose(log1p(answer), expected, atol=1e-5)


def test_a_damaged_package_is_refused_and_the_old_one_goes_on(
    package: Packaged, start: Any, tmp_path: Path, source: Path
) -> None:
    file = tmp_path / "target.json"
    golden = source / "package" / "golden.json"
    entries = json.loads(golden.read_text())
    entries["entries"][0]["log1p_tpm"][0] += 1
    golden.write_text(json.dumps(entries))
    seal(source, {**json.loads((source / "package" / "about.json").read_text()), "version": "bad"})
    client: TestClient = start(follow=file, follow_seconds=0.05)
    before = client.get("/v1/model").json()["version"]
    write_target(file, Target(str(source / "package")))
    until(lambda: bool(client.get("/v1/model").json()["refused"]))
    told = client.get("/v1/model").json()
    assert told["version"] == before
    assert "golden item 0" in told["refused"]
    assert 'isoformer_reloads_total{outcome="refused"} 1.0' in client.get("/metrics").text
    assert client.post("/v1/predict", json={"items": ITEMS}).status_code == 200
    write_target(file, Target(str(renamed(package.source, tmp_path, "good"))))
    until(lambda: client.get("/v1/model").json()["version"] == "good")
    assert client.get("/v1/model").json()["refused"] is None


def test_a_server_that_starts_anew_serves_what_the_file_names(package: Packaged, start: Any, tmp_path: Path) -> None:
    file = tmp_path / "target.json"
    write_target(file, Target(str(renamed(package.source, tmp_path, "named"))))
    assert start(follow=file).get("/v1/model").json()["version"] == "named"
    write_target(file, Target(str(tmp_path / "nowhere")))
    told = start(follow=file).get("/v1/model").json()
    assert told["version"] != "named"
    assert "nowhere" in told["refused"]


def test_a_retired_model_leaves_the_memory(package: Packaged, start: Any, tmp_path: Path) -> None:
    """Though the collector's start-up objects are frozen, and a model refers to itself."""
    file = tmp_path / "target.json"
    client: TestClient = start(follow=file, follow_seconds=0.05)
    old = weakref.ref(client.server.loaded.engine)  # type: ignore[attr-defined]
    write_target(file, Target(str(renamed(package.source, tmp_path, "next"))))
    until(lambda: client.get("/v1/model").json()["version"] == "next")
    until(lambda: old() is None, seconds=20)


def test_the_readiness_probe_says_what_was_refused_and_stays_ready(package: Packaged, tmp_path: Path) -> None:
    file = tmp_path / "target.json"
    write_target(file, Target(str(tmp_path / "nowhere")))
    (tmp_path / "server").mkdir()
    bento = package.out / "payload" / "bento"
    with (
        bentoml_process(bento, tmp_path / "server", follow=file, threads=1) as (client, _),
        urllib.request.urlopen(f"{client.url}/readyz", timeout=10) as answer,
    ):
        assert answer.status == 200
        text = answer.read().decode()
    assert "ready; refused" in text
    assert "nowhere" in text


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    assert read_target("") is None
    assert read_target(str(tmp_path / "none")) is None
    (tmp_path / "target.json").write_text("[")
    with pytest.raises(InputError, match="package"):
        read_target(str(tmp_path / "target.json"))


def test_isoforms_of_one_gene_share_their_window(package: Packaged, start: Any) -> None:
    """Asked again, alone or with others, a window is found, not encoded; /metrics tells."""
    client: TestClient = start(reference=package.inputs["transcripts"])

    def windows(outcome: str) -> float:
        text = client.get("/metrics").text
        name = f'isoformer_dna_windows_total{{outcome="{outcome}"'
        lines = [line for line in text.splitlines() if line.startswith(name)]
        return float(lines[0].split()[-1]) if lines else 0.0

    item = {"id": "SIMT00000000001"}
    first = log1p(client.post("/v1/predict", json={"items": [item]}).json())
    assert (windows("hit"), windows("miss")) == (0, 1)
    again = log1p(client.post("/v1/predict", json={"items": [item, {"id": "SIMT00000000002"}]}).json())
    assert (windows("hit"), windows("miss")) == (1, 2)
    np.testing.assert_allclose(again[0], first[0], atol=1e-5)
    assert "isoformer_window_cache_bytes" in client.get("/metrics").text


def test_the_registry_s_new_champion_is_followed(tmp_path: Path) -> None:
    """A promotion and a rollback each name their version; a registry out of reach for a while changes nothing."""
    registry = Registry(tmp_path / "registry")
    names = []
    for digit in "ab":
        payload = tmp_path / digit / "bento"
        payload.mkdir(parents=True)
        (payload / "bento.yaml").write_text(digit)
        digest = digit * 64
        record = {"model_digest": digest, "package_digest": digest, "payload_digest": digest}
        names.append(registry.register(record, tmp_path / digit, signature=b"{}"))
    registry.promote(names[0])
    file = tmp_path / "target.json"
    first, _ = serve._from_registry(registry.root, None)
    with serve._following(registry.root, 0.02, file, first):
        time.sleep(0.2)
        assert not file.exists(), "the first version is served already"
        registry.promote(names[1])
        until(lambda: names[1] in getattr(read_target(str(file)), "package", ""))
        target = read_target(str(file))
        assert target is not None
        assert Path(target.signature).read_bytes() == b"{}"
        (tmp_path / "registry").rename(tmp_path / "away")
        time.sleep(0.1)
        (tmp_path / "away").rename(tmp_path / "registry")
        registry.rollback()
        until(lambda: names[0] in getattr(read_target(str(file)), "package", ""))


def test_following_needs_a_registry(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="follow"):
        serve.main(tmp_path, follow_s=1)
