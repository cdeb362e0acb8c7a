"""The registry loses nothing: immutable versions, numbered promotions, rollbacks, in a folder and in a store."""

from __future__ import annotations

import itertools
import multiprocessing
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.artifacts import sha256_file
from components.registry import Record, Registry
from model.errors import InputError


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    folder = tmp_path / "payload"
    (folder / "bento").mkdir(parents=True)
    (folder / "bento.json").write_text("{}")
    (folder / "bento" / "model.onnx").write_bytes(b"weights" * 1000)
    return folder


@pytest.fixture(scope="session")
def s3() -> Iterator[None]:
    """An S3 of moto's on a free loopback port, to which every client of this process goes."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name, value in (("ACCESS_KEY_ID", "any"), ("SECRET_ACCESS_KEY", "any"), ("DEFAULT_REGION", "us-east-1")):
            monkeypatch.setenv(f"AWS_{name}", value)
        yield
    server.stop()


@pytest.fixture(params=["folder", "store", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder; an object store without rename or links (fsspec's memory file system); S3."""
    if request.param == "folder":
        yield str(tmp_path / "registry")
    elif request.param == "s3":
        request.getfixturevalue("s3")
        import s3fs

        bucket = f"models-{uuid.uuid4().hex}"
        s3fs.S3FileSystem().mkdir(bucket)
        yield f"s3://{bucket}/registry"
    else:
        import fsspec

        store, name = fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}"
        store.makedirs(name)
        yield f"memory:/{name}"
        store.rm(name, recursive=True)


def record_of(name: str, **extra: object) -> Record:
    digest = (name * 64)[:64]
    return {"model_digest": digest, "package_digest": "e" * 64, "payload_digest": digest, "metrics": {}, **extra}


def versions(registry: Registry, payload: Path, names: str = "abc") -> list[str]:
    return [registry.register(record_of(name), payload) for name in names]


def test_a_version_is_never_changed_once_registered(root: str, payload: Path) -> None:
    registry = Registry(root)
    version = registry.register(record_of("a", metrics={"r2": 0.5}), payload)
    assert registry.register(record_of("a", metrics={"r2": 0.9}), payload) == version
    assert registry.show(version)["metrics"] == {"r2": 0.5}
    assert [item["version"] for item in registry.list()] == [version]


def test_the_newest_promotion_is_champion_and_a_repeated_one_changes_nothing(root: str, payload: Path) -> None:
    registry = Registry(root)
    a, b, _ = versions(registry, payload)
    assert registry.champion() is None
    assert registry.promote(a)["number"] == 1
    assert registry.promote(b, reason="better") == registry.champion()
    assert registry.promote(b)["number"] == 2
    assert [item["champion"] for item in registry.list() if item["version"] == b] == [True]


def test_rollbacks_go_back_one_champion_each(root: str, payload: Path) -> None:
    registry = Registry(root)
    a, b, c = versions(registry, payload)
    for version in (a, b, c):
        registry.promote(version)
    assert registry.rollback()["version"] == b
    assert registry.rollback()["version"] == a
    with pytest.raises(InputError, match="an earlier champion"):
        registry.rollback()
    registry.promote(c)
    assert registry.rollback()["version"] == a, "what was rolled back is not returned to"
    assert len(registry.promotions()) == 7


def test_a_rollback_without_promotions_is_refused(root: str) -> None:
    with pytest.raises(InputError, match="an earlier champion"):
        Registry(root).rollback()


def test_a_conditional_promotion_is_judged_against_the_champion_that_it_replaces(root: str, payload: Path) -> None:
    registry = Registry(root)
    a, b, c = versions(registry, payload)
    registry.promote(a)
    judged = []

    def judge(champion: Record | None) -> str | None:
        assert champion is not None
        judged.append(champion["version"])
        if len(judged) == 1:
            Registry(root).promote(b)  # another process comes in between
        return "better"

    promotion = registry.promote_if(c, judge)
    assert judged == [a, b]
    assert promotion is not None
    assert (promotion["number"], promotion["replaces"]) == (3, b)


def test_a_version_that_was_rolled_back_is_not_promoted_by_a_rerun(root: str, payload: Path) -> None:
    registry = Registry(root)
    a, b, _ = versions(registry, payload)
    registry.promote(a)
    registry.promote(b)
    registry.rollback()
    assert registry.promote_if(b, lambda champion: "better") is None
    assert registry.promote(b)["number"] == 4, "by hand it is"


def test_versions_are_found_by_unambiguous_beginnings(root: str, payload: Path) -> None:
    registry = Registry(root)
    a, *_ = versions(registry, payload)
    assert registry.resolve("a") == registry.resolve("a" * 64) == a
    for unknown in ("f", ""):
        with pytest.raises(InputError, match="one version"):
            registry.promote(unknown)


def test_fetched_files_are_the_registered_ones_and_damage_is_named(root: str, payload: Path, tmp_path: Path) -> None:
    registry = Registry(root)
    version = registry.register(record_of("a"), payload)
    folder = registry.fetch(version, tmp_path / "cache")
    model = folder / "bento" / "model.onnx"
    assert sha256_file(model) == sha256_file(payload / "bento" / "model.onnx")
    damaged = bytearray(model.read_bytes())
    damaged[100] ^= 1
    model.write_bytes(damaged)
    with pytest.raises(InputError, match=r"model\.onnx.*other bytes"):
        registry.fetch(version, tmp_path / "cache")


def test_a_record_that_never_came_is_no_version(root: str, payload: Path) -> None:
    registry = Registry(root)
    registry._put(payload / "bento.json", registry._path("versions", "0" * 16 + "-" + "0" * 8, "x", "bento.json"))
    assert registry.list() == []


def _promote_many(root: str, names: list[str], results: multiprocessing.Queue) -> None:
    registry = Registry(root)
    results.put([registry.promote(name) for name in names])


def test_concurrent_promotions_lose_none(tmp_path: Path, payload: Path) -> None:
    """Six processes promote four times each; every promotion that one of them was told of is in the history."""
    registry = Registry(tmp_path / "registry")
    names = versions(registry, payload, "abcdef")
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    plans = [[names[(start + step) % 6] for step in (0, 1, 2, 3)] for start in range(6)]
    processes = [context.Process(target=_promote_many, args=(registry.root, plan, results)) for plan in plans]
    for process in processes:
        process.start()
    told = [promotion for _ in processes for promotion in results.get(timeout=60)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    history = registry.promotions()
    assert [item["number"] for item in history] == list(range(1, len(history) + 1))
    assert all(promotion in history for promotion in told)
    # Whoever found its version champion already was told so, with the standing record; everyone else made a new one.
    assert {promotion["number"] for promotion in told} <= {item["number"] for item in history}
    assert len(history) >= 6
    assert all(one["version"] != other["version"] for one, other in itertools.pairwise(history))
    assert not list((tmp_path / "registry").rglob(".partial-*"))


def _promote_in_turn(root: str, name: str) -> list[Record]:
    registry = Registry(root)
    return [registry.promote(name), registry.promote(name)]


def test_concurrent_promotions_on_s3_lose_none(s3: None, payload: Path) -> None:
    import s3fs

    bucket = f"models-{uuid.uuid4().hex}"
    s3fs.S3FileSystem().mkdir(bucket)
    registry = Registry(f"s3://{bucket}/registry")
    names = versions(registry, payload, "abcd")
    with ThreadPoolExecutor(4) as pool:
        told = [one for both in pool.map(_promote_in_turn, [registry.root] * 4, names) for one in both]
    history = registry.promotions()
    assert [item["number"] for item in history] == list(range(1, len(history) + 1))
    assert all(promotion in history for promotion in told)
    assert {item["version"] for item in history} == set(names)


def test_a_signature_is_fetched_with_its_version(root: str, payload: Path, tmp_path: Path) -> None:
    registry = Registry(root)
    signed = registry.register(record_of("a"), payload, signature=b"{}")
    unsigned = registry.register(record_of("b"), payload)
    file = registry.fetch_signature(signed, tmp_path / "cache")
    assert file is not None
    assert file.read_bytes() == b"{}"
    assert registry.fetch_signature(unsigned, tmp_path / "cache") is None
    assert registry.show(signed)["signed"] is True


def _register(root: str, payload: str, results: multiprocessing.Queue) -> None:
    results.put(Registry(root).register(record_of("a"), Path(payload)))


def test_concurrent_registrations_of_one_version_leave_one_whole_version(tmp_path: Path, payload: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    root = str(tmp_path / "registry")
    processes = [context.Process(target=_register, args=(root, str(payload), results)) for _ in range(4)]
    for process in processes:
        process.start()
    names = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(60)
    registry = Registry(root)
    assert names == {item["version"] for item in registry.list()}
    registry.fetch(names.pop(), tmp_path / "cache")
