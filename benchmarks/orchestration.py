"""What the ways in cost on top of the steps: a local Kubeflow run, `dvc repro` with work and with none; image sizes.

    python -m benchmarks.orchestration [--images localhost/isoformer:TAG]

The same sanity-size steps are timed as plain commands, through kfp's local runner and through DVC, in one run. Limit: a
`dvc repro` that has nothing to do takes at most one second.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
STEPS = ("validate-data", "extract-sequences", "train-model", "evaluate-model")
NO_OP_LIMIT_S = 1.0


def seconds(*command: str, cwd: Path) -> float:
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1", "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return time.perf_counter() - started


def project(place: Path) -> Path:
    """Code, stages and sanity parameters, as a clone holds them."""
    for name in ("components", "model", "serving"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copyfile(ROOT / name, place / name)
    settings = ["--params", str(ROOT / "params.yaml"), "--preset", "sanity", "--set", "runtime.threads=1"]
    shown = subprocess.run(
        [str(BIN / "isoformer"), "params", "show", *settings], capture_output=True, text=True, check=True
    ).stdout
    (place / "params.yaml").write_text(shown, encoding="utf-8")
    seconds("dvc", "init", "--no-scm", "--quiet", cwd=place)
    seconds("isoformer", "fabricate", cwd=place)
    return place


def image_sizes(images: str) -> None:
    prefix, _, tag = images.rpartition(":")
    for name in ("data", "train", "package", "serve"):
        command = ["podman", "image", "inspect", f"{prefix}-{name}:{tag}", "--format", "{{.Size}}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        size = f"{int(done.stdout) / 1e6:,.0f} MB" if done.returncode == 0 else "not built here"
        print(f"image {name:<10} {size:>12}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="", help="prefix:tag of built images, for their sizes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = project(Path(name))
        plain = sum(seconds("isoformer", step, cwd=place) for step in STEPS)
        shutil.rmtree(place / "artifacts")
        shutil.rmtree(place / "runs", ignore_errors=True)
        kubeflow = seconds("isoformer", "pipeline", "run", "--data", "data/simulated", "--out", "run", cwd=place)
        shutil.rmtree(place / "runs", ignore_errors=True)
        dvc = seconds("dvc", "repro", "evaluate-model", cwd=place)
        no_op = min(seconds("dvc", "repro", "evaluate-model", cwd=place) for _ in range(3))
    print(f"{'way in':<28}{'seconds':>9}{'ratio to commands':>20}")
    for way, taken in (("four commands", plain), ("kfp local runner", kubeflow), ("dvc repro", dvc)):
        print(f"{way:<28}{taken:>9.2f}{taken / plain:>20.2f}")
    verdict = "within" if no_op <= NO_OP_LIMIT_S else "OVER"
    print(f"{'dvc repro, nothing to do':<28}{no_op:>9.2f}   {verdict} the limit of {NO_OP_LIMIT_S:.0f} s")
    if arguments.images:
        image_sizes(arguments.images)


if __name__ == "__main__":
    main()
