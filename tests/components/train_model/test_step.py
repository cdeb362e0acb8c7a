"""Training gives the same model twice, on any number of processes, and goes on where it was stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from components.artifacts import AlreadyComplete, digest_of, open_artifact
from components.harness import EXIT_STOPPED, THREADING
from components.params import Params
from components.train_model.spec import Spec
from components.train_model.step import run
from model.errors import InputError


def changed(params: Params, **sections: dict[str, object]) -> Params:
    updates = {name: getattr(params, name).model_copy(update=values) for name, values in sections.items()}
    return params.model_copy(update=updates)


def weights(artifact: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return dict(load_file(artifact / "payload" / "model.safetensors"))


def test_the_same_run_again_gives_the_same_bytes(
    tmp_path: Path, sanity_params: Params, transcripts: Path, model: Path
) -> None:
    run({"transcripts": transcripts}, sanity_params, tmp_path / "model", tmp_path / "work")
    assert digest_of(tmp_path / "model") == digest_of(model)
    # A finished run leaves nothing that a later one, with changed code, could take for its own.
    assert list((tmp_path / "work" / "train_model").iterdir()) == []
    assert len(list((tmp_path / "work" / "train_logs").glob("*/events.out.tfevents.*"))) == 1
    with pytest.raises(AlreadyComplete):
        run({"transcripts": transcripts}, sanity_params, tmp_path / "model", tmp_path / "work")


def test_the_model_artifact_says_what_it_is(model: Path, sanity_params: Params) -> None:
    artifact = open_artifact(model, "model")
    config = json.loads((artifact.payload / "config.json").read_text())
    assert len(config["tissues"]) == len(config["output_mean"]) == 30
    history = json.loads((artifact.payload / "history.json").read_text())
    assert history[-1]["step"] == sanity_params.train.max_steps == 20
    assert history[-1]["train_mse"] < 1.5
    run_record = json.loads((model / "run.json").read_text())
    # 20 steps of 16, but for the rest of 7 that ends the first epoch of 247.
    throughput = run_record["throughput"]
    assert throughput["transcripts"] == 19 * 16 + 7
    assert throughput["encodings_per_distinct_window"] == 1
    assert 0 <= throughput["padding_share"] <= 0.05
    assert 0 <= throughput["input_stall_share"] < 1


def test_two_gloo_processes_train_the_model_that_one_does(
    tmp_path: Path, sanity_params: Params, transcripts: Path
) -> None:
    # Without dropout: its random numbers are drawn per process.
    quiet = {"rna": {"embedding_dropout": 0.0}, "protein": {"embedding_dropout": 0.0}}
    params = changed(sanity_params, model={"overrides": quiet})
    two = changed(params, runtime={"processes": 2})
    run({"transcripts": transcripts}, params, tmp_path / "one", tmp_path / "work")
    run({"transcripts": transcripts}, two, tmp_path / "two", tmp_path / "work")
    one_weights, two_weights = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one_weights.keys() == two_weights.keys()
    one, other = (json.loads((tmp_path / name / "payload" / "history.json").read_text()) for name in ("one", "two"))
    # Adam amplifies the rounding of gradients that are zero, so losses are compared, and weights loosely.
    for first, second in zip(one, other, strict=True):
        assert first["valid_mse"] == pytest.approx(second["valid_mse"], abs=1e-4)
        assert first["train_mse"] == pytest.approx(second["train_mse"], abs=1e-4)


def start_worker(folder: Path, transcripts: Path, params: Params, stderr: int | None = None) -> subprocess.Popen[str]:
    folder.mkdir(parents=True, exist_ok=True)
    Spec(payload=transcripts / "payload", params=params, work=folder).write(folder / "spec.json")
    return subprocess.Popen(
        [sys.executable, "-m", "components.train_model.worker", str(folder / "spec.json")],
        env={**THREADING, **os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not list((folder / "checkpoints").glob("step-*")):
        assert process.poll() is None, "training ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_stopped_run_goes_on_and_ends_bit_for_bit_like_an_unbroken_one(
    tmp_path: Path, sanity_params: Params, transcripts: Path, stop: signal.Signals
) -> None:
    params = changed(sanity_params, train={"checkpoint_every_steps": 3, "max_steps": 60, "max_epochs": 100})
    run({"transcripts": transcripts}, params, tmp_path / "unbroken", tmp_path / "work")
    folder = tmp_path / "stopped"
    with start_worker(folder, transcripts, params) as process:
        wait_for_checkpoint(folder, process)
        process.send_signal(stop)
    assert process.returncode == (-stop if stop == signal.SIGKILL else EXIT_STOPPED)
    assert not (folder / "result").exists()
    with start_worker(folder, transcripts, params) as process:
        assert process.stdout is not None
        output = process.stdout.read()
    assert "resuming at optimizer step" in output
    assert process.returncode == 0
    expected = (tmp_path / "unbroken" / "payload" / "model.safetensors").read_bytes()
    assert (folder / "result" / "model.safetensors").read_bytes() == expected


def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path: Path, sanity_params: Params, transcripts: Path) -> None:
    params = changed(sanity_params, train={"checkpoint_every_steps": 3}, runtime={"threads": 1})
    folder = tmp_path / "run"
    with start_worker(folder, transcripts, params) as process:
        process.communicate()
    older, newest = sorted((folder / "checkpoints").glob("step-*"))[-2:]
    with (newest / "model.safetensors").open("r+b") as handle:
        handle.seek(-5, os.SEEK_END)
        handle.write(b"\xff")
    first = (folder / "result" / "model.safetensors").read_bytes()
    with start_worker(folder, transcripts, params, subprocess.STDOUT) as process:
        assert process.stdout is not None
        output = process.stdout.read()
    assert f"checkpoint {newest.name} is damaged" in output
    assert "trying the one before it" in output
    assert f"resuming at optimizer step {int(older.name.removeprefix('step-'))}," in output
    assert (folder / "result" / "model.safetensors").read_bytes() == first


def test_windows_of_another_length_are_refused_by_name(
    tmp_path: Path, sanity_params: Params, transcripts: Path
) -> None:
    params = changed(sanity_params, model={"overrides": {"window_bp": 1024}})
    with pytest.raises(InputError, match=r"expected DNA windows of 1024 bp.*found 512 bp"):
        run({"transcripts": transcripts}, params, tmp_path / "model", tmp_path / "work")
    assert not (tmp_path / "model").exists()
