"""Claim: at equal p99 the service answers at least 1.5 times as many requests as BentoML's adaptive batcher on the same
model; it adds at most 2 ms to the bare model (p50); at twice its capacity nothing is a 5xx and memory does not grow.

    python -m benchmarks.serving_load [--annotation demo.gtf.gz] [--p99-ms 1000] [--seconds 8] [--no-dna]

One worker and one numeric thread on the first core, the generator on the other. The network has random weights and
takes 20 ms or more per transcript. Requests are one transcript each, at Poisson arrivals, drawn with replacement from
the coding transcripts of a real annotation: their lengths, and one DNA window per distinct start site. BentoML's
batcher is given several batch sizes. Its service without the batcher (1) is shown beside them: on one core, where
batches of unlike lengths gain nothing, that is its better way, and the claim is not about it. --no-dna leaves out the
DNA tower, and with it what the cache of window states saves.
"""

from __future__ import annotations

import argparse
import contextlib
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
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.annotated_lengths import add_option, read_lengths
from benchmarks.load_generator import Level, offer
from components.artifacts import write_json
from components.package_model.bento import bentoml_environment, seal, stage_code
from components.package_model.golden import inputs_of
from components.sequences import letters_of
from model.batch import TranscriptInput
from model.config import FusionConfig, HeadConfig, IsoFormerConfig, RotaryConfig
from model.presets import preset

ROOT = Path(__file__).parents[1]
WINDOW_BP = 16_384
STEP = 1.2
SERVER_CORE, GENERATOR_CORE = 0, 1
_OVERLOADS = 5


def network_config(*, dna: bool) -> IsoFormerConfig:
    """RNA and protein towers of published limits and maybe a DNA tower, 20 ms per transcript or more on one core."""

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
        window_bp=WINDOW_BP,
        dna=preset("tiny").dna if dna else None,
        rna=tower("sixmer", "gated_silu"),
        protein=tower("esm", "gelu"),
        fusion=FusionConfig(targets=("rna", "protein"), heads=3),
        head=HeadConfig(expansion=1.0),
    )


def items_of(transcripts: list[TranscriptInput]) -> list[dict[str, str]]:
    """Transcripts as a client sends them."""
    return [
        {
            **({} if one.dna is None else {"dna": letters_of(one.dna)}),
            "rna": one.rna or "",
            "protein": one.protein or "",
        }
        for one in transcripts
    ]


def make_package(source: Path, items: list[dict[str, str]], *, dna: bool) -> None:
    """The serving code with a network of random weights, and golden answers of its own."""
    import torch

    from components.package_model.golden import golden_entries
    from model.export import export_onnx
    from model.isoformer import IsoFormer

    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = IsoFormer(network_config(dna=dna))
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
    """A server's address and its process."""

    address: str
    process: subprocess.Popen[bytes]

    def resident_mib(self) -> float:
        """Resident memory of the server and its workers."""
        pages = 0
        for pid in (self.process.pid, *_descendants(self.process.pid)):
            with contextlib.suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _descendants(parent: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for pid in map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()):
            found += [pid, *_descendants(pid)]
    return found


@contextlib.contextmanager
def served(
    service: str, folder: Path, environment: dict[str, str], log: Path, cores: Collection[int] = (SERVER_CORE,)
) -> Iterator[Running]:
    """`bentoml serve` of a service on some cores while the block runs; the variables go to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = log.parent / f"home-{log.stem}"
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)]
    paths = [environment.get("PYTHONPATH", ""), str(folder)]
    full = {**bentoml_environment(home), **environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
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
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
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
                        raise RuntimeError(log.read_text()[-2000:]) from None
                    time.sleep(0.1)
            else:
                raise RuntimeError(f"not ready: {log.read_text()[-2000:]}")
            yield Running(address, process)
        finally:
            # BentoML's workers have sessions of their own.
            for pid in (*_descendants(process.pid), process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def shuffled(bodies: list[bytes], seed: int) -> list[bytes]:
    """Drawn anew with replacement: no level asks what the one before it asked."""
    return [bodies[row] for row in np.random.default_rng(seed).choice(len(bodies), 4 * len(bodies))]


def windows_found(address: str) -> float:
    """Share of DNA windows that the cache held, from /metrics."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    counts = dict(re.findall(r'isoformer_dna_windows_total\{outcome="(\w+)"[^}]*\} ([\d.e+]+)', text))
    hits, misses = (float(counts.get(outcome, 0)) for outcome in ("hit", "miss"))
    return hits / max(hits + misses, 1)


def capacity(name: str, url: str, bodies: list[bytes], start: float, p99_ms: float, seconds: float) -> Level:
    """The highest load of a ladder that is answered whole with p99 within the limit.

    The p99 of a short run is one of its few longest requests: a rung that fails is passed over once, and two in a row
    end the ladder; before any holds it goes down.
    """
    best, rate, failed = None, start, 0
    while True:
        level = offer(url, shuffled(bodies, round(rate * 10)), rate, seconds, seed=round(rate * 10))
        good = level.quantile_ms(0.99) <= p99_ms and set(level.statuses) == {200}
        print(f"{name:22} {level.line()}  {'holds' if good else 'p99 or statuses fail'}", flush=True)
        if good:
            best, failed = level, 0
        elif best is None:
            if rate < 2:
                return replace(level, latencies_s=np.empty(0))
            rate /= 2
            continue
        else:
            failed += 1
            if failed == 2:
                return best
        rate *= STEP


def added_latency_ms(
    url: str, items: list[dict[str, str]], bare: Callable[[dict[str, str]], None]
) -> tuple[float, float]:
    """Medians over items asked one after the other: of the bare model in ms, and of what HTTP adds to it."""
    host, port = url.split("/")[2].split(":")
    connection = socket.create_connection((host, int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    alone, added = [], []
    for item in items:
        body = json.dumps({"items": [item]}).encode()
        pair = []
        # The bare model on the core that the server has: cores of a shared machine are not alike.
        for core, ask in ((SERVER_CORE, partial(bare, item)), (GENERATOR_CORE, partial(_post, connection, body))):
            os.sched_setaffinity(0, {core})
            times = []
            for _ in range(5):
                started = time.perf_counter()
                ask()
                times.append(time.perf_counter() - started)
            pair.append(min(times))
        alone.append(pair[0])
        added.append(pair[1] - pair[0])
    connection.close()
    return float(np.median(alone)) * 1e3, float(np.median(added)) * 1e3


def _post(connection: socket.socket, body: bytes) -> None:
    """Ask over an open connection: bytes out, bytes in, so that no client's own time is taken for the server's."""
    lines = ("POST /v1/predict HTTP/1.1", "host: x", "content-type: application/json", f"content-length: {len(body)}")
    connection.sendall("\r\n".join((*lines, "", "")).encode() + body)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65_536)
    top, _, rest = answer.partition(b"\r\n\r\n")
    (length,) = re.findall(rb"(?i)content-length: (\d+)", top)
    if b" 200 " not in top.split(b"\r\n")[0]:
        raise RuntimeError(top.decode())
    left = int(length) - len(rest)
    while left > 0:
        left -= len(connection.recv(65_536))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--no-dna", action="store_true", help="a network of RNA and protein towers alone")
    parser.add_argument("--p99-ms", type=float, default=1000.0)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--start", type=float, default=10.0, help="first rung of the ladder, requests/s")
    parser.add_argument(
        "--peer-batch", type=int, nargs="+", default=[1, 2, 4], help="max_batch_size of BentoML's batcher"
    )
    options = parser.parse_args()
    os.sched_setaffinity(0, {GENERATOR_CORE})
    found = read_lengths(options.annotation)
    print(found.source)
    items = items_of(found.draw(600, seed=1).transcripts(None if options.no_dna else WINDOW_BP))
    with tempfile.TemporaryDirectory() as name:
        _compare(Path(name), items, options)


def _compare(folder: Path, items: list[dict[str, str]], options: argparse.Namespace) -> None:
    from serving.engine import Engine
    from serving.settings import Settings

    source = folder / "src"
    make_package(source, items, dna=not options.no_dna)
    engine = Engine(Settings(package=str(source / "package"), threads=1))
    uncached = Engine(Settings(package=str(source / "package"), threads=1, window_cache_bytes=0))
    inputs = inputs_of(items)
    started = time.perf_counter()
    for one in inputs[:60]:
        uncached.predict([one])
    print(f"bare model: {1e3 * (time.perf_counter() - started) / 60:.1f} ms per item on one core (mean of 60)")
    bodies = [json.dumps({"items": [item]}).encode() for item in items]
    peers = []
    for size in options.peer_batch:
        environment = {"PEER_PACKAGE": str(source / "package"), "PEER_MAX_BATCH": str(size), "OMP_NUM_THREADS": "1"}
        with served("benchmarks.bentoml_batcher:Peer", ROOT, environment, folder / f"peer{size}.log") as peer:
            label = f"BentoML batcher ({size})"
            url = f"{peer.address}/predict"
            peers.append((size, capacity(label, url, bodies, options.start, options.p99_ms, options.seconds)))
    settings = {"ISOFORMER_SERVE_PACKAGE": str(source / "package"), "ISOFORMER_SERVE_THREADS": "1"}
    with served("serving.service:service", source, settings, folder / "ours.log") as server:
        url = f"{server.address}/v1/predict"
        bare, added = added_latency_ms(url, items[:40], lambda item: _ask(engine, item))
        best = capacity("ours", url, bodies, options.start, options.p99_ms, options.seconds)
        # The same load again and again: what grows goes on growing, what was only needed once does not.
        overloads, memory = [], []
        for round_ in range(_OVERLOADS):
            rate = 2 * best.answered_per_s
            overloads.append(offer(url, shuffled(bodies, 7 + round_), rate, options.seconds, seed=7 + round_))
            memory.append(server.resident_mib())
        share = windows_found(server.address)
    for overload in overloads:
        print(f"{'ours, twice its load':22} {overload.line()}")
    batched = max((level.answered_per_s for size, level in peers if size > 1), default=float("nan"))
    plain = max((level.answered_per_s for size, level in peers if size == 1), default=float("nan"))
    statuses = sorted(set().union(*(overload.statuses for overload in overloads)))
    ours = best.answered_per_s
    print(f"\n{f'requests/s at p99 ≤ {options.p99_ms:g} ms':38}{ours:10.1f}")
    print(f"{'  BentoML batcher, its best size':38}{batched:10.1f}   ratio {ours / batched:.2f}, limit ≥ 1.5")
    print(f"{'  BentoML without its batcher':38}{plain:10.1f}   ratio {ours / plain:.2f}")
    print(f"{'added latency, p50 (ms)':38}{added:10.2f}   limit ≤ 2; bare model {bare:.1f} ms")
    print(f"{'statuses at twice the load':38}{statuses!s:>10}   limit: no 5xx")
    print(f"{'DNA windows found in the cache':38}{share:10.0%}")
    print(f"{'memory after each overload (MiB)':38}{'  '.join(f'{mib:.0f}' for mib in memory)}")


def _ask(engine: object, item: dict[str, str]) -> None:
    engine.predict(inputs_of([item]))  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
