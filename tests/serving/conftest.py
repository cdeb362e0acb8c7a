"""A packaged model behind the real application, in this process, on no port."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from packaging_inputs import Packaged, packaged
from starlette.testclient import TestClient

from serving.app import build_app
from serving.limits import Gate
from serving.server import Server

Start = Callable[..., TestClient]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    return packaged(tmp_path_factory.getbasetemp())


@pytest.fixture
def source(package: Packaged, tmp_path: Path) -> Path:
    """A copy of the Bento's source folder, to be damaged."""
    return Path(shutil.copytree(package.source, tmp_path / "src"))


def started(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> TestClient:
    """A client of the application under ISOFORMER_SERVE_* settings, after it came up (or did not)."""
    # Those of a client that other tests of the module share.
    for name in [name for name in os.environ if name.startswith("ISOFORMER_SERVE_")]:
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(f"ISOFORMER_SERVE_{name.upper()}", str(value))
    server = Server()
    app = Gate(build_app(server), max_body_bytes=lambda: server.settings.max_body_bytes, keys=lambda: server.keys)
    client = stack.enter_context(TestClient(app))
    client.server = server  # type: ignore[attr-defined]
    while server.not_ready == "starting":
        client.get("/openapi.json")
    return client


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, package: Packaged) -> Iterator[Start]:
    """Start the application; settings as keyword arguments, `package` defaults to the packaged model's."""
    with ExitStack() as stack:
        yield lambda **settings: started(
            stack, monkeypatch, **{"package": package.source / "package", "threads": 1, **settings}
        )


@pytest.fixture(scope="module")
def client(package: Packaged) -> Iterator[TestClient]:
    """The application with its reference mounted, shared by the tests of a module."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as monkeypatch:
        yield started(
            stack, monkeypatch, package=package.source / "package", reference=package.inputs["transcripts"], threads=1
        )
