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
    """`bentoml serve` of a Bento, ready; its log is folder/server.log. The whole session is ended afterwards."""
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
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def processes_of(session: int) -> dict[int, float]:
    """Process ids of a session, and the resident memory of each in MiB."""
    found = {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if folder.name.isdigit() and os.getsid(int(folder.name)) == session:
                pages = int((folder / "statm").read_text().split()[1])
                found[int(folder.name)] = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return found
