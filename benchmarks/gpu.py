"""All that is measured or tested on a GPU, one after the other, each bounded in time.

    python -m benchmarks.gpu --folder figures [--only protein training …] [--minutes 10]

What each says goes to FOLDER/NAME.txt and, its end, to the screen. Ends with status 1 where one failed or did not hold.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

TOWER = ["--device", "cuda", "--transcripts", "512", "--batch", "64"]
WINDOWS = ["--device", "cuda", "--window-bp", "196608"]
# In the order of what they take, so that the first failures come early.
RUNS = {
    "values": ["pytest", "-q", "-p", "no:cacheprovider", "tests/model/test_rotary_encoder.py", "-k", "gpu"],
    "placement": ["pytest", "-q", "-p", "no:cacheprovider", "tests/model/test_cuda_trace.py"],
    "protein": ["benchmarks.protein_tower", "--size", "150m", *TOWER],
    "rna": ["benchmarks.rna_tower", "--size", "250m", *TOWER],
    "dna": ["benchmarks.dna_tower", *WINDOWS, "--windows", "4"],
    "shared-windows": ["benchmarks.shared_windows", *WINDOWS],
    "training": ["benchmarks.training_gpu"],
    "whole-path": [
        *("benchmarks.demo_seeds", "--seeds", "1"),
        *("--set", "runtime.device=cuda", "--set", "train.precision=bf16"),
    ],
}
SHOWN_LINES = 40


def run(name: str, folder: Path, minutes: float) -> int:
    """The exit status of one of them; 124 where its time was up."""
    path = folder / f"{name}.txt"
    command = [sys.executable, "-m", *RUNS[name]]
    with (
        path.open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        ) as process,
    ):
        try:
            return process.wait(minutes * 60)
        except subprocess.TimeoutExpired:
            return 124
        finally:
            if process.poll() is None:  # with what it started
                os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    """Run them, then say what became of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(RUNS), default=list(RUNS), metavar="NAME")
    parser.add_argument("--minutes", type=float, default=10.0, help="The most that each may take.")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks.gpu: no CUDA device here, or a build of torch for CPUs")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    outcomes = {}
    for name in arguments.only:
        started = time.monotonic()
        print(f"=== {name}: python -m {' '.join(RUNS[name])}", flush=True)
        status = run(name, arguments.folder, arguments.minutes)
        lines = (arguments.folder / f"{name}.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        print("\n".join(lines[-SHOWN_LINES:]), flush=True)
        held = not any("DOES NOT HOLD" in line for line in lines)
        outcomes[name] = "time was up" if status == 124 else "failed" if status else "ran" if held else "does not hold"
        print(f"=== {name}: {outcomes[name]}, {time.monotonic() - started:.0f} s\n", flush=True)
    raise SystemExit(int(any(outcome != "ran" for outcome in outcomes.values())))


if __name__ == "__main__":
    main()
