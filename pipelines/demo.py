"""The demo: from raw files to a running server's answer, with every stop on the way shown."""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.artifacts import open_artifact
from components.harness import run_step
from components.params import Params
from components.raw_data import find_raw_data
from pipelines.local_run import LocalRun, next_folder, run_locally
from pipelines.outcome import SIMULATED, evaluation_of, is_blessed, print_outcome, shown

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 40.0
SERVE_PORT = 3000


@dataclass(frozen=True)
class Question:
    """One test transcript: its id, sequences as the service takes them, and observed log1p TPM by tissue."""

    transcript_id: str
    item: dict[str, str]
    observed: dict[str, float]


def run_demo(params: Params, *, data: Path | None, runs: Path) -> None:
    """Fabricate data unless `data` names some, run the pipeline to a verdict, and ask the server of a blessed model.

    Everything, the registry included, lies in a fresh folder below `runs`: a real registry never meets a demo model.
    """
    started = time.monotonic()
    if data is not None:
        find_raw_data(data, params.data)
    place = next_folder(runs, "demo")
    say(f"The demo's folder: {shown(place)}")
    if data is None:
        say(f"Fabricating a genome, its annotation and its expression. {SIMULATED}")
        data = place / "raw"
        run_step("fabricate", inputs={}, params=params, out=data, work=place / "work")
    say(f"The Kubeflow pipeline on {shown(data)}, by kfp's local runner")
    registry = place / "registry"
    run = run_locally(params, data=data, out=place / "pipeline", work=place / "work", registry=str(registry))
    print_outcome(run)
    if is_blessed(evaluation_of(run)):
        _serve_once(run, registry, place)
    else:
        say("No server: the verdict stands, and the reasons are above. This is a legitimate end of a run.")
    say(f"Done in {(time.monotonic() - started) / 60:.1f} minutes.")


def _serve_once(run: LocalRun, registry: Path, place: Path) -> None:
    question = pick_question(run.artifacts["transcripts"])
    command = ["isoformer", "serve", "--registry", shown(registry), "--reference", shown(run.artifacts["transcripts"])]
    say("The champion of the demo's registry, served:")
    with served(command, place / "server.log") as address:
        answer = _post(f"{address}/v1/predict", {"items": [question.item, {"id": question.transcript_id}]})
    _print_answer(question, answer)
    say("The server is stopped. To start it again, and to ask it from another terminal:")
    body = json.dumps({"items": [{"id": question.transcript_id}]})
    print(f"  .venv/bin/{shlex.join([*command, '--port', str(SERVE_PORT)])}")
    print(
        f"  curl -s http://127.0.0.1:{SERVE_PORT}/v1/predict -H 'content-type: application/json' -d {shlex.quote(body)}"
    )
    print(f"  or open http://127.0.0.1:{SERVE_PORT}/ in a browser")


def pick_question(transcripts: Path) -> Question:
    """The test transcript with the highest mean expression that has all three sequences, or else fewer."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    payload = open_artifact(transcripts, "transcripts").payload
    tissues = json.loads((payload / "dataset.json").read_text(encoding="utf-8"))["tissues"]
    columns = ["transcript_id", "rna", "protein", "split", "labels"]
    table = pq.read_table(payload / "transcripts.parquet", columns=columns)
    rows = table.filter(pc.equal(table["split"], "test")).to_pylist()
    row = max(rows, key=lambda item: (item["protein"] is not None, sum(item["labels"])))
    item = {name: row[name] for name in ("rna", "protein") if row[name]}
    return Question(row["transcript_id"], item, dict(zip(tissues, row["labels"], strict=True)))


@contextlib.contextmanager
def served(command: list[str], log: Path) -> Iterator[str]:
    """Run the `isoformer serve` command on a free port while the block runs; yields the address of the ready server.

    Ends the process it started, by its id. Raises `RuntimeError` with the end of the log where it never gets ready.
    """
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    full = [sys.executable, "-m", "pipelines.cli", *command[1:], "--port", str(port)]
    with log.open("wb") as output, subprocess.Popen(full, stdout=output, stderr=output) as process:
        try:
            _wait_ready(process, address, log)
            yield address
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_S)
            if process.poll() is None:
                process.kill()


def _wait_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        # Not ready yet is a status 503, or no answer at all.
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/readyz", timeout=5):  # noqa: S310 loopback
            return
        time.sleep(0.2)
    raise RuntimeError(f"the server did not become ready:\n{log.read_text(errors='replace')[-2000:]}")


def _post(address: str, body: dict[str, Any]) -> dict[str, Any]:
    data = json.dumps(body).encode()
    request = urllib.request.Request(address, data=data, headers={"content-type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 loopback
        return dict(json.load(response))


def _print_answer(question: Question, answer: dict[str, Any]) -> None:
    """The tissues with the highest prediction, from id and from sequences, beside what was observed."""
    from rich.console import Console
    from rich.table import Table

    simulated = answer["provenance"]["simulated"]
    title = f"{question.transcript_id}, a test transcript: log1p TPM" + (" (SIMULATED)" if simulated else "")
    table = Table(title=title)
    by_sequence, by_id = (
        {entry["tissue"]: entry["log1p_tpm"] for entry in item["expression"]} for item in answer["items"]
    )
    for heading in ("tissue", "asked by id (DNA + RNA + protein)", "asked by " + " + ".join(question.item), "observed"):
        table.add_column(heading)
    for tissue in sorted(by_id, key=lambda name: -by_id[name])[:5]:
        values = (by_id[tissue], by_sequence[tissue], question.observed[tissue])
        table.add_row(tissue, *(f"{value:.2f}" for value in values))
    console = Console(highlight=False)
    console.print(table)
    console.print(f"answered by version {answer['provenance']['version']}", soft_wrap=True)


def say(text: str) -> None:
    """A line between two stops of the demo."""
    print(f"\n==> {text}", flush=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
