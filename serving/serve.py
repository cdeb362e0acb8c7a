"""Starting the service on this machine: a Bento by its place, or a version from the registry, by default the champion.

BentoML runs it in processes of their own; this one waits, passes signals on, and ends with it.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from components.artifacts import open_artifact
from components.registry import Registry
from model.errors import InputError
from serving.follow import Target, write_target

_DRAIN_S = 30.0
# A server that the kernel kills again and again is out of memory for good: then we end too, with its status.
_RESTARTS = 3
_RESTART_WINDOW_S = 60.0


def main(
    bento: Path | str | None = None,
    *,
    registry: str = "registry",
    version: str | None = None,
    host: str = "127.0.0.1",
    port: int = 3000,
    reference: Path | str | None = None,
    threads: int = 0,
    backend: str = "onnx",
    public_key: Path | str | None = None,
    signature: Path | str | None = None,
    api_keys: Path | str | None = None,
    observations: Path | str | None = None,
    follow_s: float = 0,
) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status of BentoML.

    `bento`: a bento artifact or a Bento's folder; without it, `version` of `registry`, the champion by default.
    `reference`: a transcripts artifact, so that clients may send ids. `threads` of the numeric engine, 0 for all
    cores. `backend`: onnx, on the CPU, or torch, on a GPU, where the package holds its weights. `public_key`:
    serve only what its private half signed; `signature` comes from the registry if not given. `api_keys`: a file of
    keys, one of which a client must send. `observations`: a folder that what monitoring reads is written to.
    `follow_s`: ask the registry this often for its champion, and change over to a new one without losing a request; 0
    stays with the version that it began with. Raises `InputError`
    where there is nothing to serve or the port is taken.
    """
    if follow_s and (bento is not None or version is not None):
        raise InputError(
            where="--follow",
            expected="a registry, whose champion is followed",
            found="a version of its own",
            fix="Leave out --bento and --version, or --follow.",
        )
    if bento is not None:
        folder = find_bento(bento)
    else:
        folder, registered = _from_registry(registry, version)
        signature = signature or registered
    host = "127.0.0.1" if host == "localhost" else host
    _check_free(host, port)
    command = [sys.executable, "-m", "bentoml", "serve", str(folder), "--host", host, "--port", str(port)]
    with tempfile.TemporaryDirectory(prefix="isoformer-serve-") as home:
        environment = {
            **os.environ,
            "BENTOML_HOME": home,
            "BENTOML_DO_NOT_TRACK": "True",
            "PYTHONSAFEPATH": "1",
            # Byte code beside the served files would make their artifact differ from its manifest.
            "PYTHONDONTWRITEBYTECODE": "1",
            # One pool of threads, ONNX Runtime's: others would only contend with it.
            "OMP_NUM_THREADS": "1",
            "ISOFORMER_SERVE_BACKEND": backend,
            "ISOFORMER_SERVE_THREADS": str(threads or usable_cores()),
        }
        files = {
            "reference": reference,
            "public_key": public_key,
            "api_keys_file": api_keys,
            "observations_dir": observations,
        }
        files["signature"] = signature if public_key is not None else None
        for name, file in files.items():
            if file is not None:
                environment[f"ISOFORMER_SERVE_{name.upper()}"] = str(Path(file).resolve())
        if follow_s:
            environment["ISOFORMER_SERVE_FOLLOW"] = str(Path(home) / "target.json")
        print(f"serving {folder} on http://{host}:{port}", file=sys.stderr, flush=True)
        with _following(registry, follow_s, Path(home) / "target.json", folder):
            return _run(command, environment, home)


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use: of the machine, its affinity, and a container's limit, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        # "max 100000" where there is no limit.
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(cores, 1)


def find_bento(place: Path | str) -> Path:
    """The Bento's folder of a bento artifact (verified) or of a Bento itself; else `InputError`."""
    folder = Path(place).resolve()
    if (folder / "manifest.json").is_file():
        folder = open_artifact(folder, "bento").payload / "bento"
    if not (folder / "bento.yaml").is_file():
        raise InputError(
            where=str(place),
            expected="a bento artifact, or a Bento with its bento.yaml",
            found="another folder" if folder.is_dir() else "no such folder",
            fix="Run `isoformer package-model`, or name a version of the registry.",
        )
    return folder


def _from_registry(root: str, version: str | None) -> tuple[Path, Path | None]:
    """The Bento's folder and its signature, if it has one."""
    registry = Registry(root)
    if version is None:
        champion = registry.champion()
        if champion is None:
            raise InputError(
                where=f"registry {root}",
                expected="a champion",
                found="no promotion",
                fix="Run the pipeline to a blessed model, or promote one: `isoformer registry promote VERSION`.",
            )
        version = str(champion["version"])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isoformer" / "versions"
    return find_bento(registry.fetch(version, cache) / "bento"), registry.fetch_signature(version, cache)


@contextlib.contextmanager
def _following(registry: str, follow_s: float, file: Path, first: Path) -> Iterator[None]:
    """While the block runs, write to `file` which version is champion, where it is another than before."""
    ended = threading.Event()

    def follow() -> None:
        served, known = first, None
        while not ended.wait(follow_s):
            try:
                champion = Registry(registry).champion()
                if champion is None or champion["version"] == known:
                    continue  # fetching it again would read every byte of it
                folder, signature = _from_registry(registry, champion["version"])
                known = champion["version"]
                if folder != served:
                    print(f"champion of {registry}: {folder}", file=sys.stderr, flush=True)
                    write_target(file, Target(str(folder / "src" / "package"), str(signature or "")))
                    served = folder
            except Exception as error:
                # A registry out of reach for a while is no reason to stop serving.
                print(f"registry {registry}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)

    thread = threading.Thread(target=follow, name="follow", daemon=True)
    if follow_s:
        thread.start()
    try:
        yield
    finally:
        ended.set()


def _check_free(host: str, port: int) -> None:
    """Bind once before BentoML does: its own message is a traceback."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        raise InputError(
            where=f"{host}:{port}", expected="a free address", found=str(error), fix="Choose another --port or --host."
        ) from None


def _run(command: list[str], environment: dict[str, str], home: str) -> int:
    """Run the server until it ends or we are told to; one that was killed from outside is started anew."""
    asked_to_end = False
    started_at: list[float] = []
    while True:
        started_at = [moment for moment in started_at if time.monotonic() - moment < _RESTART_WINDOW_S]
        started_at.append(time.monotonic())
        with subprocess.Popen(command, env=environment, cwd=home, start_new_session=True) as process:

            def end(*_: Any, process: subprocess.Popen[bytes] = process) -> None:
                nonlocal asked_to_end
                asked_to_end = True
                process.terminate()

            status = _wait(process, end)
        killed = status < 0 and not asked_to_end
        if not killed or len(started_at) > _RESTARTS:
            return 0 if asked_to_end and status in (0, -signal.SIGTERM) else status
        name = signal.Signals(-status).name
        print(f"the server was killed ({name}); starting it anew", file=sys.stderr, flush=True)


def _wait(process: subprocess.Popen[bytes], end: Callable[..., None]) -> int:
    """Wait for the server, passing SIGTERM and SIGINT on; whatever ends the waiting ends the server."""
    previous = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_DRAIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
