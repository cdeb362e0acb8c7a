"""Claim: at equal p99 the service answers at least 1.5 times as many requests as BentoML's adaptive batcher on the same
model; it adds at most 2 ms to the bare model (p50); at twice its capacity nothing is a 5xx and memory does not grow.

    python -m benchmarks.serving_load [--annotation demo.gtf.gz] [--p99-ms 1000] [--seconds 8]

One worker and one numeric thread on the first core, the generator on the other. The network has random weights and
takes 20 ms or more per transcript; lengths come from a real annotation where one is given, else they are log-normal.
Arrivals are Poisson. BentoML's batcher is given several batch sizes, and 1, with which it does not merge.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.load_generator import Level, offer
from components.artifacts import write_json
from components.package_model.bento import bentoml_environment, seal, stage_code
from model.batch import TranscriptInput
from model.config import FusionConfig, HeadConfig, IsoFormerConfig, RotaryConfig

ROOT = Path(__file__).parents[1]
DEFAULT_ANNOTATION = ROOT.parent / "shared/data/annotation/demo.gtf.gz"
STEP = 1.2
SERVER_CORE, GENERATOR_CORE = 0, 1


def network_config() -> IsoFormerConfig:
    """RNA and protein towers of published limits, wide enough for 20 ms per transcript on one core."""

    def tower(alphabet: str, feed_forward: str) -> RotaryConfig:
        return RotaryConfig(
            alphabet=alphabet,  # type: ignore[arg-type]
            layers=4,
            width=192,
            heads=3,
            feed_forward_width=512,
            feed_forward=feed_forward,  # type: ignore[arg-type]
            max_tokens=2048,
        )

    return IsoFormerConfig(
        name="bench",
        dna=None,
        rna=tower("sixmer", "gated_silu"),
        protein=tower("esm", "gelu"),
        fusion=FusionConfig(targets=("rna", "protein"), heads=3),
        head=HeadConfig(expansion=1.0),
    )


def lengths(annotation: Path, rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
    """(RNA nt, protein residues) of `count` transcripts of an annotation, drawn with replacement."""
    if not annotation.is_file():
        print(f"{annotation} is not there: log-normal lengths instead")
        rna = np.exp(rng.normal(7.0, 0.85, count)).astype(int).clip(60, 20_000)
        return [(int(nt), int(nt * 0.2) if rng.random() < 0.5 else 0) for nt in rna]
    spliced: dict[str, int] = {}
    coding: dict[str, int] = {}
    with gzip.open(annotation, "rt") as handle:
        for line in handle:
            fields = line.split("\t")
            if len(fields) < 9 or fields[2] not in ("exon", "CDS"):
                continue
            name = re.search(r'transcript_id "([^"]+)"', fields[8])
            if name:
                target = spliced if fields[2] == "exon" else coding
                target[name[1]] = target.get(name[1], 0) + int(fields[4]) - int(fields[3]) + 1
    names = sorted(spliced)
    chosen = rng.choice(len(names), count)
    return [(spliced[names[row]], coding.get(names[row], 0) // 3) for row in chosen]


def items_of(sizes: list[tuple[int, int]], rng: np.random.Generator) -> list[dict[str, str]]:
    """Random sequences of these lengths."""
    items = []
    for nt, residues in sizes:
        item = {"rna": "".join(rng.choice(list("ACGT"), nt))}
        if residues:
            item["protein"] = "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), residues))
        items.append(item)
    return items


def make_package(source: Path, items: list[dict[str, str]]) -> None:
    """The serving code with a network of random weights, and golden answers of its own."""
    import torch

    from components.package_model.golden import golden_entries
    from model.export import export_onnx
    from model.isoformer import IsoFormer

    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = IsoFormer(network_config())
    package = source / "package"
    package.mkdir(parents=True)
    stage_code(source)
    export_onnx(network, package / "model.onnx")
    write_json(package / "config.json", network.config.to_dict())
    write_json(package / "golden.json", {"tolerance": 1e-4, "entries": golden_entries(items[:2], network)})
    named = dict.fromkeys(("version", "model_digest", "dataset_version"), "benchmark")
    seal(source, {**named, "name": "isoformer", "simulated": True, "metrics": {}, "card": ""})


@dataclass(frozen=True)
class Running:
    """A server's address and the process ids of its session."""

    address: str
    process: subprocess.Popen[bytes]

    def resident_mib(self) -> float:
        """Resident memory of all processes of the server's session."""
        total = 0
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if folder.name.isdigit() and os.getsid(int(folder.name)) == self.process.pid:
                    total += int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return total / 2**20


@contextlib.contextmanager
def served(service: str, folder: Path, environment: dict[str, str], log: Path) -> Iterator[Running]:
    """`bentoml serve` of a service on one core while the block runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = log.parent / f"home-{log.stem}"
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)]
    full = {**bentoml_environment(home), "PYTHONPATH": str(folder), **environment}
    full.pop("PYTHONSAFEPATH")
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            cwd=folder,
            env=full,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
        ) as process,
    ):
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(600):
                try:
                    with urllib.request.urlopen(f"{address}/readyz", timeout=5):
                        break
                except OSError:
                    if process.poll() is not None:
                        break
                    time.sleep(0.1)
            else:
                raise RuntimeError(log.read_text()[-2000:])
            yield Running(address, process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def capacity(name: str, url: str, bodies: list[bytes], start: float, p99_ms: float, seconds: float) -> Level:
    """The highest load of a ladder that is answered whole with p99 within the limit."""
    best, rate = None, start
    while True:
        level = offer(url, bodies, rate, seconds, seed=round(rate * 10))
        good = level.quantile_ms(0.99) <= p99_ms and set(level.statuses) == {200}
        print(f"{name:22} {level.line()}  {'holds' if good else 'p99 or statuses fail'}", flush=True)
        if not good:
            if best is not None or rate < 2:
                return best or replace(level, latencies_s=np.empty(0))
            rate /= 2
            continue
        best = level
        rate *= STEP


def added_latency_ms(
    url: str, items: list[dict[str, str]], bare: Callable[[dict[str, str]], None]
) -> tuple[float, float]:
    """Medians over items asked one after the other: of the bare model in ms, and of what HTTP adds to it."""
    import http.client

    connection = http.client.HTTPConnection(url.split("/")[2])
    alone, added = [], []
    for item in items:
        body = json.dumps({"items": [item]}).encode()
        pair = []
        for ask in (partial(bare, item), partial(_post, connection, body)):
            times = []
            for _ in range(3):
                started = time.perf_counter()
                ask()
                times.append(time.perf_counter() - started)
            pair.append(min(times))
        alone.append(pair[0])
        added.append(pair[1] - pair[0])
    connection.close()
    return float(np.median(alone)) * 1e3, float(np.median(added)) * 1e3


def _post(connection: object, body: bytes) -> None:
    connection.request("POST", "/v1/predict", body, {"content-type": "application/json"})  # type: ignore[attr-defined]
    connection.getresponse().read()  # type: ignore[attr-defined]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotation", type=Path, default=DEFAULT_ANNOTATION)
    parser.add_argument("--p99-ms", type=float, default=1000.0)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--start", type=float, default=10.0, help="first rung of the ladder, requests/s")
    parser.add_argument("--peer-batch", type=int, nargs="+", default=[1, 4], help="max_batch_size of BentoML's batcher")
    options = parser.parse_args()
    os.sched_setaffinity(0, {GENERATOR_CORE})
    rng = np.random.default_rng(1)
    items = items_of(lengths(options.annotation, rng, 300), rng)
    with tempfile.TemporaryDirectory() as name:
        _compare(Path(name), items, options)


def _compare(folder: Path, items: list[dict[str, str]], options: argparse.Namespace) -> None:
    from serving.engine import Engine
    from serving.settings import Settings

    source = folder / "src"
    make_package(source, items)
    engine = Engine(Settings(package=str(source / "package"), threads=1))
    inputs = [TranscriptInput(**item) for item in items]
    started = time.perf_counter()
    for one in inputs[:60]:
        engine.predict([one])
    print(f"bare model: {1e3 * (time.perf_counter() - started) / 60:.1f} ms per item on one core (mean of 60)")
    ours = [json.dumps({"items": [item]}).encode() for item in items]
    theirs = [json.dumps({"items": [item]}).encode() for item in items]
    peers = []
    for size in options.peer_batch:
        environment = {"PEER_PACKAGE": str(source / "package"), "PEER_MAX_BATCH": str(size), "OMP_NUM_THREADS": "1"}
        with served("benchmarks.bentoml_batcher:Peer", ROOT, environment, folder / f"peer{size}.log") as peer:
            label = f"BentoML batcher ({size})"
            peers.append(
                capacity(label, f"{peer.address}/predict", theirs, options.start, options.p99_ms, options.seconds)
            )
    settings = {"ISOFORMER_SERVE_PACKAGE": str(source / "package"), "ISOFORMER_SERVE_THREADS": "1"}
    with served("serving.service:service", source, settings, folder / "ours.log") as server:
        url = f"{server.address}/v1/predict"
        bare, added = added_latency_ms(url, items[:25], lambda item: _ask(engine, item))
        best = capacity("ours", url, ours, options.start, options.p99_ms, options.seconds)
        before = server.resident_mib()
        overload = offer(url, ours, 2 * best.answered_per_s, 2 * options.seconds, seed=7)
        after = server.resident_mib()
        again = offer(url, ours, 2 * best.answered_per_s, options.seconds, seed=8)
        last = server.resident_mib()
    print(f"{'ours, twice its load':22} {overload.line()}")
    peer_best = max(peers, key=lambda level: level.answered_per_s)
    ratio = best.answered_per_s / max(peer_best.answered_per_s, 1e-9)
    statuses = sorted(overload.statuses | again.statuses)
    print(f"\n{'':34}{'ours':>10}{'BentoML':>10}{'limit':>10}")
    print(
        f"{f'requests/s at p99 ≤ {options.p99_ms:g} ms':34}{best.answered_per_s:10.1f}{peer_best.answered_per_s:10.1f}"
    )
    print(f"{'ratio':34}{ratio:10.2f}{'':10}{'≥ 1.5':>10}")
    print(f"{'added latency, p50 (ms)':34}{added:10.2f}{'':10}{'≤ 2':>10}   bare model {bare:.1f} ms")
    print(f"{'statuses at twice the load':34}{statuses!s:>10}{'':10}{'no 5xx':>10}")
    print(f"{'memory before, after, again (MiB)':34}{before:10.0f}{after:10.0f}{last:10.0f}")


def _ask(engine: object, item: dict[str, str]) -> None:
    engine.predict([TranscriptInput(**item)])  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
