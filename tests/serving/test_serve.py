"""`serving.serve` runs the champion of a registry in processes of its own, and ends with a signal."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from packaging_inputs import Packaged

from model.errors import InputError
from serving import serve
from serving.client import Client, ServiceError
from serving.serve import find_bento, main


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_nothing_to_serve_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a champion"):
        main(registry=str(tmp_path / "registry"))
    with pytest.raises(InputError, match="a bento artifact"):
        find_bento(tmp_path)


def test_a_taken_port_is_told(package: Packaged) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="free address"):
            main(package.out, port=taken.getsockname()[1])


def test_a_damaged_artifact_is_not_served(package: Packaged, tmp_path: Path) -> None:
    out = Path(shutil.copytree(package.out, tmp_path / "bento"))
    (out / "payload" / "bento" / "src" / "serving" / "added.py").write_text("")
    with pytest.raises(InputError, match=r"added\.py"):
        find_bento(out)


@pytest.mark.slow
def test_the_champion_is_served_asked_and_stopped(package: Packaged, tmp_path: Path) -> None:
    port = free_port()
    program = (
        "import sys; from serving.serve import main; "
        f"sys.exit(main(registry={str(package.registry)!r}, port={port}, "
        f"reference={str(package.inputs['transcripts'])!r}))"
    )
    # A module that a careless start would import from the folder it runs in.
    (tmp_path / "model.py").write_text("raise SystemExit('hostile')")
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, cwd=tmp_path) as process:
        try:
            client = Client(f"http://127.0.0.1:{port}")
            client.wait_ready(60)
            answer = client.predict([{"id": "SIMT00000000004"}], tissues=["Liver"])
            assert answer["items"][0]["expression"][0]["tissue"] == "Liver"
            assert client.model()["reference"]
            with pytest.raises(ServiceError, match=r"422.*no such transcript"):
                client.predict([{"id": "nothing"}])
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
    # Serving left the artifact as its manifest lists it.
    assert find_bento(package.out).is_dir()


def test_threads_follow_the_limit_of_the_container(tmp_path: Path) -> None:
    everything = serve.usable_cores(tmp_path)
    assert 1 <= everything <= (os.cpu_count() or 1)
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert serve.usable_cores(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert serve.usable_cores(tmp_path) == everything
