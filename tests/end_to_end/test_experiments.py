"""Each suite at its smallest size, through the command line: killed, continued, reported half-finished and whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.experiments.records import read_plan
from components.experiments.suites import SUITES, suite_of
from components.params import Params
from components.pretrain_tower.step import run as pretrain_tower

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SMALLEST = (
    *("train.max_steps=2", "train.max_epochs=1", "runtime.preflight=false", "runtime.trackers=[]"),
    *("evaluate.contributions=false", "evaluate.onnx=false"),
    *("evaluate.resamples=100", "evaluate.rank_resamples=100"),
    *("evaluate.baselines.boosting_components=1", "evaluate.baselines.boosting_iterations=1"),
    *("evaluate.baselines.kmer_nucleotides=1", "evaluate.baselines.kmer_residues=1"),
)


def command(suite: str, transcripts: Path, out: Path, *more: str) -> list[str]:
    settings = [part for item in SMALLEST for part in ("--set", item)]
    return [
        *(sys.executable, "-m", "pipelines.cli", "experiments", "run", "--suite", suite, "--params", "params.yaml"),
        *("--preset", "sanity", "--transcripts", str(transcripts), "--out", str(out), *settings, *more),
    ]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)


def report(out: Path) -> str:
    arguments = [
        sys.executable,
        "-m",
        "pipelines.cli",
        "experiments",
        "report",
        "--out",
        str(out),
        "--resamples",
        "200",
    ]
    done = run(arguments)
    assert done.returncode == 0, done.stderr
    return (out / "report.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory, sanity_params: Params, raw_inputs: dict[str, Path]) -> list[str]:
    """`--pretrained` options for towers that were pre-trained for one step."""
    folder = tmp_path_factory.mktemp("towers")
    (folder / "rna.fa").write_text(">a\nACGTACGTACGTAA\n>b\nACGGTTACGTACGT\n")
    (folder / "protein.fa").write_text(">a\nMKTWYQ\n>b\nMKTAAA\n")
    (folder / "track.bed").write_text("chr1\t100\t300\n")
    params = sanity_params.changed({"pretrain": {"steps": 1, "batch_sequences": 2}, "runtime": {"threads": 1}})
    sources = {
        "rna": {"fasta": folder / "rna.fa"},
        "protein": {"fasta": folder / "protein.fa"},
        "dna": {"genome": raw_inputs["genome"], "track_0": folder / "track.bed"},
    }
    for tower, files in sources.items():
        pretrain_tower(files, params, folder / tower, folder / "work", tower=tower)
    return [part for tower in sources for part in ("--pretrained", f"{tower}={folder / tower}")]


def test_a_killed_suite_continues_and_its_half_report_says_what_is_missing(transcripts: Path, tmp_path: Path) -> None:
    arguments = command("targets", transcripts, tmp_path, "--seeds", "2", "--jobs", "1")
    with subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 240
        while not list(tmp_path.glob("trials/*/evaluation/manifest.json")) and time.monotonic() < deadline:
            time.sleep(0.2)
        # While one run is at work, another is refused.
        second = run(arguments)
        process.send_signal(signal.SIGKILL)
    assert second.returncode == 2
    assert f"process {process.pid}" in second.stderr
    plan = read_plan(tmp_path, "targets")
    done = [trial for trial in plan.trials if trial.done]
    assert 1 <= len(done) < len(plan.trials)
    finished = {trial.folder: os.stat(trial.evaluation / "manifest.json").st_mtime_ns for trial in done}

    half = report(tmp_path)
    assert f"{len(plan.missing)} of 4 trials are missing" in half
    assert "of 2 |" in half

    resumed = run(arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert not read_plan(tmp_path, "targets").missing
    for folder, stamp in finished.items():
        assert os.stat(folder / "evaluation" / "manifest.json").st_mtime_ns == stamp
    whole = report(tmp_path)
    assert "missing" not in whole
    assert "SIMULATED" in whole


def test_every_suite_runs_and_is_reported(transcripts: Path, towers: list[str], tmp_path: Path) -> None:
    for suite in SUITES:
        seeds = "2" if suite == "seeds" else "1"
        more = towers if suite == "pre-training" else []
        done = run(command(suite, transcripts, tmp_path, "--seeds", seeds, *more))
        assert done.returncode == 0, f"{suite}: {done.stderr}"
    text = report(tmp_path)
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert results.keys() == set(SUITES)
    for suite in SUITES:
        keys = {item.key for item in suite_of(suite, network="sanity").configurations}
        assert results[suite]["configurations"].keys() == keys
        assert not results[suite]["missing"]
    # The base configuration is trained once for all suites that have it.
    base = {
        read_plan(tmp_path, suite).trials[index].folder
        for suite, index in (("modalities", -1), ("dna-encoder", 0), ("pre-training", -1), ("seeds", 0))
    }
    assert len(base) == 1
    assert all(f"## {suite_of(name, network='sanity').title}" in text for name in SUITES)
    assert "RNA encoder's attention" in text
    assert (tmp_path / "report.tex").read_text(encoding="utf-8").count(r"\begin{table}") >= len(SUITES)
