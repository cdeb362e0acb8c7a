"""Booting a Bento in a process of its own on a free loopback port, and asking it its golden questions."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.package_model.bento import bentoml_environment
from model.errors import InputError

# Long: the published size answers its golden questions on two cores in minutes. A server that ended is seen at once.
READY_TIMEOUT_S = 1800.0
STOP_TIMEOUT_S = 30.0
_REQUEST_TIMEOUT_S = 300.0
_LOG_TAIL = 2000
# Golden questions per request: enough to be merged and padded together, few enough for the deadline.
_ITEMS_PER_REQUEST = 4
# Should the packaging process be killed, the kernel ends the server too (PR_SET_PDEATHSIG, Linux); then BentoML runs.
_WITH_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
os.execv(sys.executable, [sys.executable, "-m", "bentoml", *sys.argv[1:]])
"""


@contextlib.contextmanager
def booted(bento: Path, home: Path, log: Path) -> Iterator[str]:
    """Serve the Bento while the block runs; yields its address once it is ready.

    Raises `RuntimeError` with the reason and the end of the log where it does not become ready.
    """
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    serve = ["serve", str(bento), "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-c", _WITH_PARENT, *serve]
    environment = {**bentoml_environment(home), "ISOFORMER_SERVE_DEADLINE_S": str(_REQUEST_TIMEOUT_S)}
    # A session of its own, so that the server can be ended with its worker, and no one else.
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=home, env=environment, stdout=output, stderr=output, start_new_session=True
        ) as process,
    ):
        try:
            _wait_ready(process, address, log)
            yield address
        finally:
            _stop(process)


def ask(address: str, entries: Sequence[Mapping[str, Any]]) -> float:
    """Ask all golden questions; returns the largest difference from their answers, log1p TPM."""
    differences = []
    for start in range(0, len(entries), _ITEMS_PER_REQUEST):
        chunk = entries[start : start + _ITEMS_PER_REQUEST]
        body = json.dumps({"items": [entry["item"] for entry in chunk]}).encode()
        answer = _post(f"{address}/v1/predict", body)
        found = np.array([[tissue["log1p_tpm"] for tissue in item["expression"]] for item in answer["items"]])
        expected = np.array([entry["log1p_tpm"] for entry in chunk])
        differences.append(np.abs(found - expected).max() if found.shape == expected.shape else np.inf)
    return float(np.max(differences))


def _wait_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + READY_TIMEOUT_S
    reason = "no answer"
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=5):  # noqa: S310 loopback, our own
                return
        except urllib.error.HTTPError as error:
            with error:
                reason = error.read().decode("utf-8", "replace").strip()
            if error.code == 503 and "starting" not in reason:
                break
        except OSError:
            pass
        time.sleep(0.1)
    tail = log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:]
    raise RuntimeError(f"the Bento did not become ready: {reason}\n{tail}")


def _post(address: str, body: bytes) -> Any:
    request = urllib.request.Request(address, data=body, headers={"content-type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_REQUEST_TIMEOUT_S) as response:  # noqa: S310
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode("utf-8", "replace")
        raise InputError(
            where=address,
            expected="answers to the golden questions",
            found=f"status {error.code}: {text[:300]}",
            fix="See the server's log in the work folder.",
        ) from None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server by its own process id; its whole session if it does not go."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        # The worker is in the server's session and no other process is.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
