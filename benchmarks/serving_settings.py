"""Claim: the service's thread count (all cores) and settings of Python's collector are the better choices.

    python -m benchmarks.serving_settings [--annotation demo.gtf.gz] [--rate 4] [--seconds 10] [--rounds 3]

The same network and requests as `serving_load`, at one load; the server may use every core and shares them with the
generator, as a pod shares them with its own HTTP work. Ways take turns, round by round, each in a server of its own.
Without the settings of the collector means Python's defaults: nothing frozen, its own thresholds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.annotated_lengths import add_option, read_lengths
from benchmarks.load_generator import Level, offer
from benchmarks.serving_load import WINDOW_BP, items_of, make_package, served, shuffled

# Read by every Python process on whose path it lies: the service's own calls then change nothing.
_NO_SETTINGS = """
import gc
gc.freeze = gc.unfreeze = lambda: None
gc.set_threshold = lambda *_: None
"""


def main() -> None:
    """Print a row per way: the medians of its rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--rate", type=float, default=4.0, help="requests/s, below the capacity of one core")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cores = os.cpu_count() or 2
    found = read_lengths(options.annotation)
    print(found.source)
    items = items_of(found.draw(600, seed=1).transcripts(WINDOW_BP))
    bodies = [json.dumps({"items": [item]}).encode() for item in items]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_package(folder / "src", items, dna=True)
        (folder / "plain").mkdir()
        (folder / "plain" / "sitecustomize.py").write_text(_NO_SETTINGS, encoding="ascii")
        ways = {
            f"as shipped: {cores} threads": {"ISOFORMER_SERVE_THREADS": str(cores)},
            f"all cores but one: {max(1, cores - 1)}": {"ISOFORMER_SERVE_THREADS": str(max(1, cores - 1))},
            "as shipped, Python's own collector settings": {
                "ISOFORMER_SERVE_THREADS": str(cores),
                "PYTHONPATH": str(folder / "plain"),
            },
        }
        levels: dict[str, list[Level]] = {way: [] for way in ways}
        for round_ in range(options.rounds):
            for number, (way, environment) in enumerate(ways.items()):
                settings = {"ISOFORMER_SERVE_PACKAGE": str(folder / "src" / "package"), **environment}
                log = folder / f"server-{round_}-{number}.log"
                with served("serving.service:service", folder / "src", settings, log, range(cores)) as server:
                    url = f"{server.address}/v1/predict"
                    # Equal requests in every way of a round; the first seconds warm the server up.
                    offer(url, shuffled(bodies, 0), options.rate, 3.0, seed=0)
                    levels[way].append(offer(url, shuffled(bodies, round_), options.rate, options.seconds, seed=round_))
    print(f"{options.rate:g} requests/s, medians of {options.rounds} rounds of {options.seconds:g} s")
    for way, rounds in levels.items():
        statuses = sorted(set().union(*(level.statuses for level in rounds)))
        p50, p99 = (np.median([level.quantile_ms(share) for level in rounds]) for share in (0.5, 0.99))
        print(f"{way:46} p50 {p50:6.1f} ms   p99 {p99:6.1f} ms   statuses {statuses}")


if __name__ == "__main__":
    main()
