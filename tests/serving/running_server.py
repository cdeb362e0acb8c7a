"""Real servers on free loopback ports: the application behind uvicorn, and whole BentoML processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from components.package_model.bento import bentoml_environment
from serving.app import build_app
from serving.client import Client
from serving.limits import Gate
from serving.server import Server


@contextmanager
def serving(**settings: Any) -> Iterator[str]:
    """The application behind uvicorn on a free loopback port."""
    with pytest.MonkeyPatch.context() as monkeypatch, socket.socket() as listening:
        for name, value in settings.items():
            monkeypatch.setenv(f"ISOFORMER_SERVE_{name.upper()}", str(value))
        listening.bind(("127.0.0.1", 0))
        state = Server()
        app = Gate(build_app(state), max_body_bytes=lambda: state.settings.max_body_bytes, keys=lambda: state.keys)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while state.not_ready == "starting":
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)


@contextmanager
def bentoml_process(bento: Path, folder: Path, **settings: Any) -> Iterator[tuple[Client, subprocess.Popen[bytes]]]:
    """`bentoml serve` of a Bento, ready; its log is folder/server.log. It and its workers are ended afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "bentoml", "serve", str(bento), "--host", "127.0.0.1", "--port", str(port)]
    environment = {f"ISOFORMER_SERVE_{name.upper()}": str(value) for name, value in settings.items()}
    (folder / "home").mkdir()
    with (
        (folder / "server.log").open("wb") as log,
        subprocess.Popen(
            command,
            cwd=folder,
            env={**bentoml_environment(folder / "home"), **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        try:
            client = Client(f"http://127.0.0.1:{port}")
            client.wait_ready(60)
            yield client, process
        finally:
            for pid in (*descendants(process.pid), process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def descendants(parent: int) -> list[int]:
    """Process ids of the children of a process and of theirs; BentoML's workers have sessions of their own."""
    found = []
    with suppress(OSError):
        for pid in map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()):
            found += [pid, *descendants(pid)]
    return found


def resident_mib(parent: int) -> float:
    """Resident memory of a process and its descendants."""
    total = 0
    for pid in (parent, *descendants(parent)):
        with suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return total * os.sysconf("SC_PAGE_SIZE") / 2**20
