"""A step killed at any moment leaves no visible partial output, and runs again to the same result."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from packaging_inputs import write_inputs

from components.artifacts import digest_of
from components.registry import Registry
from pipelines.stages import stage

ROOT = Path(__file__).parents[2]
ISOFORMER = str(Path(sys.executable).parent / "isoformer")
SETTINGS = ["--params", str(ROOT / "params.yaml"), "--preset", "sanity", "--set", "runtime.threads=1"]


def command(name: str, out: Path, work: Path, inputs: dict[str, Path]) -> list[str]:
    places = [part for key, path in inputs.items() for part in (f"--{key.replace('_', '-')}", str(path))]
    return [ISOFORMER, stage(name).command, *SETTINGS, *places, "--out", str(out), "--work", str(work)]


@pytest.fixture
def inputs(
    request: pytest.FixtureRequest, raw_inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Path]]:
    """Inputs of each step, made by the steps before it."""
    transcripts: Path = request.getfixturevalue("transcripts")
    model: Path = request.getfixturevalue("model")
    return {
        "fabricate": {},
        "validate_data": raw_inputs,
        "extract_sequences": {**raw_inputs, "validation": transcripts.parent / "validation"},
        "train_model": {"transcripts": transcripts},
        "evaluate_model": {"transcripts": transcripts, "model": model},
        # A model that is not blessed would not be packaged: a made verdict.
        "package_model": write_inputs(tmp_path_factory.getbasetemp()),
    }


@pytest.mark.parametrize(
    "name",
    [
        "fabricate",
        "extract_sequences",
        pytest.param("validate_data", marks=pytest.mark.slow),
        pytest.param("train_model", marks=pytest.mark.slow),
        pytest.param("evaluate_model", marks=pytest.mark.slow),
        pytest.param("package_model", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_a_killed_step_leaves_nothing_visible_and_runs_again(
    name: str, inputs: dict[str, dict[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where packaging registers
    started = time.monotonic()
    whole = tmp_path / "whole" / "out"
    subprocess.run(command(name, whole, tmp_path / "whole-work", inputs[name]), check=True, capture_output=True)
    seconds = time.monotonic() - started
    out, work = tmp_path / "killed" / "out", tmp_path / "work"
    # From the first moments to just before, or after, the end: the last ones meet the writing and the renaming.
    for share in (0.2, 0.5, 0.8, 0.9, 0.97, 1.02):
        with subprocess.Popen(
            command(name, out, work, inputs[name]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(share * seconds)
            process.send_signal(signal.SIGKILL)
        visible = [path.name for path in out.parent.glob("[!.]*")] if out.parent.exists() else []
        assert visible in ([], ["out"])
        if visible:
            assert digest_of(out) == digest_of(whole)
            break
    subprocess.run(command(name, out, work, inputs[name]), check=True, capture_output=True)
    assert digest_of(out) == digest_of(whole)
    if name == "package_model":
        assert len(Registry("registry").list()) == 1
    # What the killed runs left hidden is cleared up.
    assert [path.name for path in out.parent.iterdir()] == ["out"]
