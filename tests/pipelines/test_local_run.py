"""A local pipeline run tells which step runs, ends in one line where input is bad, and disturbs no other run."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from components.artifacts import RUN_RECORD, open_artifact
from components.params import Params, load_params
from pipelines.local_run import LOG, next_folder
from pipelines.outcome import SIMULATED

ROOT = Path(__file__).parents[2]
ISOFORMER = str(Path(sys.executable).parent / "isoformer")
SANITY = ["--params", str(ROOT / "params.yaml"), "--preset", "sanity", "--set", "runtime.threads=1"]


def pipeline_run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [ISOFORMER, "pipeline", "run", *SANITY, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_missing_raw_files_are_refused_before_any_step_starts(tmp_path: Path) -> None:
    done = pipeline_run("--data", tmp_path, "--out", "run", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("isoformer: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_taken_is_refused(tmp_path: Path, raw_inputs: dict[str, Path]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    done = pipeline_run("--data", raw_inputs["genome"].parent, "--out", "run", cwd=tmp_path)
    assert done.returncode == 2
    assert "expected an empty or absent folder" in done.stderr


def test_a_step_that_refuses_its_input_ends_the_run_with_its_own_line(
    tmp_path: Path, raw_inputs: dict[str, Path]
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for path in raw_inputs.values():
        (raw / path.name).write_bytes(path.read_bytes())
    (raw / raw_inputs["annotation"].name).write_bytes(b"no gzip")
    # Neither this process nor that of the step may import what lies in the current folder.
    for name in ("model.py", "components.py", "kfp.py"):
        (tmp_path / name).write_text("raise SystemExit('hostile')")
    done = pipeline_run("--data", raw, "--out", "run", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "hostile" not in done.stdout + done.stderr
    assert "[1/5] validate_data" in done.stderr
    assert "annotation.gtf.gz" in done.stderr.splitlines()[-1]


def test_folders_of_runs_are_never_shared(tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(next_folder(tmp_path, "demo"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in found) == [f"demo-{number}" for number in range(1, 9)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_demos_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    """In one folder: two of the same work down to the seed, one of another seed; none is good enough to be blessed."""
    command = [ISOFORMER, "demo", *SANITY]
    runs = [
        subprocess.Popen(
            [*command, "--set", f"train.seed={seed}"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for seed in (1, 1, 2)
    ]
    for run in runs:
        text, _ = run.communicate()
        assert run.returncode == 0, text
        assert "Verdict: NOT BLESSED" in text
        assert SIMULATED in text
        assert "[4/5] evaluate_model" in text
        assert "KFP Executor" not in text
        assert "Warning" not in text
    folders = sorted(tmp_path.glob("runs/demo-*"))
    assert [folder.name for folder in folders] == ["demo-1", "demo-2", "demo-3"]
    made = []
    for folder in folders:
        assert (folder / "pipeline" / LOG).stat().st_size > 0
        told = json.loads((folder / "pipeline" / "model" / RUN_RECORD).read_text(encoding="utf-8"))
        assert told["door"] == "kfp"
        seed = told["config"]["train"]["seed"]
        made.append((seed, open_artifact(folder / "pipeline" / "model", "model").digest))
    assert sorted(seed for seed, _ in made) == [1, 1, 2]
    assert len(set(made)) == len({digest for _, digest in made}) == 2
    # No state is left of either.
    assert list(tmp_path.glob("**/train_model/*")) == []


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(ROOT / "params.yaml", preset="sanity")


def test_a_wrapper_runs_as_a_plain_function(tmp_path: Path, raw_inputs: dict[str, Path], params: Params) -> None:
    """Outside of any pipeline: paths in, an artifact, its page and its metadata out."""
    from kfp import dsl

    from components.validate_data.component import validate_data

    raw = dsl.Dataset(uri=str(raw_inputs["genome"].parent))
    validation = dsl.Artifact(uri=str(tmp_path / "validation"))
    report = dsl.HTML(uri=str(tmp_path / "report.html"))
    work = str(tmp_path / "work")
    validate_data.python_func(raw=raw, validation=validation, report=report, params=params.to_json(), work_root=work)
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert validation.metadata["kind"] == "validation"
    assert len(validation.metadata["made_from_genome"]) == 64
