"""What a pipeline run does when a step dies: it is retried, told of, and gone on with. Real processes, real deaths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ISOFORMER = str(Path(sys.executable).parent / "isoformer")
SANITY = ["--params", str(ROOT / "params.yaml"), "--preset", "sanity", "--set", "runtime.threads=1"]

# Loaded by every Python process of the run: the first `deaths` processes that come to extraction die without a word.
SABOTEUR = """
import os, sys
class Saboteur:
    def find_spec(self, name, path=None, target=None):
        if name == "components.extract_sequences.step":
            marks = os.environ["SABOTAGE"]
            done = len(os.listdir(marks))
            if done < int(os.environ["DEATHS"]):
                open(os.path.join(marks, str(done)), "w").close()
                os._exit(137)
sys.meta_path.insert(0, Saboteur())
"""

pytestmark = pytest.mark.slow


def sabotaged(tmp_path: Path, deaths: int) -> dict[str, str]:
    (tmp_path / "sabotage").mkdir()
    (tmp_path / "marks").mkdir()
    (tmp_path / "sabotage" / "sitecustomize.py").write_text(SABOTEUR)
    marks = {"SABOTAGE": str(tmp_path / "marks"), "DEATHS": str(deaths)}
    return {**os.environ, "PYTHONPATH": str(tmp_path / "sabotage"), **marks}


def command(raw: Path, *arguments: str) -> list[str]:
    return [ISOFORMER, "pipeline", "run", *SANITY, "--data", str(raw), *arguments]


def test_a_step_that_dies_once_is_tried_again(tmp_path: Path, raw_inputs: dict[str, Path]) -> None:
    done = subprocess.run(
        command(raw_inputs["genome"].parent, "--out", "run", "--retries", "1"),
        cwd=tmp_path,
        env=sabotaged(tmp_path, deaths=1),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Verdict: NOT BLESSED" in done.stdout
    summary = (tmp_path / "run" / "summary.md").read_text()
    assert "SUCCEEDED" in summary
    assert "| extract_sequences | 1 | not heard of again |" in summary
    assert "| extract_sequences | 2 | done |" in summary
    # Nothing was packaged: no version appeared, and the summary knows no such step.
    assert "package_model" not in summary
    assert not (tmp_path / "registry").exists()


def test_a_step_that_always_dies_is_told_of_by_the_exit_handler(tmp_path: Path, raw_inputs: dict[str, Path]) -> None:
    done = subprocess.run(
        command(raw_inputs["genome"].parent, "--out", "run", "--retries", "1"),
        cwd=tmp_path,
        env=sabotaged(tmp_path, deaths=99),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    summary = (tmp_path / "run" / "summary.md").read_text()
    assert "FAILED" in summary
    assert "**Cause:** extract_sequences: began and was not heard of again" in summary
    assert "| extract_sequences | 2 |" in summary
    assert "<html" in (tmp_path / "run" / "summary.html").read_text()


@pytest.mark.timeout(400)
def test_a_stopped_run_leaves_no_process_and_the_next_goes_on(tmp_path: Path, raw_inputs: dict[str, Path]) -> None:
    """SIGTERM in training: status 75, every process gone; the same command with a new --out resumes and finishes."""
    longer = [f"--set=train.{knob}" for knob in ("max_epochs=8", "max_steps=null", "checkpoint_every_steps=5")]
    raw = raw_inputs["genome"].parent
    run = subprocess.Popen(
        command(raw, "--out", "first", *longer), cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert run.stderr is not None
    told = []
    for line in run.stderr:
        told.append(line)
        if "epoch 1" in line:
            break
    else:
        pytest.fail("".join(told))
    run.send_signal(signal.SIGTERM)
    rest = run.stderr.read()
    assert run.wait(60) == 75, rest
    assert "Traceback" not in rest
    deadline = time.monotonic() + 10
    while members(run.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not members(run.pid)
    assert "train_model: stopped" in (tmp_path / "first" / "summary.md").read_text()

    again = subprocess.run(
        command(raw, "--out", "second", *longer), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert "epoch 0:" not in again.stderr
    assert "[4/5] evaluate_model" in again.stderr


def members(session: int) -> list[int]:
    """Processes of a session that are not dead."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found
