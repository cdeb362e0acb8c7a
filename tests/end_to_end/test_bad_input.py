"""Bad input at any step ends with one clear line and status 2, and leaves nothing behind."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ISOFORMER = str(Path(sys.executable).parent / "isoformer")
PARAMS = ["--params", str(ROOT / "params.yaml"), "--preset", "sanity"]


def refused(*arguments: str | Path, cwd: Path) -> str:
    """Call `isoformer`, expect a refusal; returns its one line."""
    command = [ISOFORMER, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 2, f"status {done.returncode}: {done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("isoformer: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture
def raw(tmp_path: Path, raw_inputs: dict[str, Path]) -> Path:
    """A copy of the fabricated raw files that a test may damage."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for path in raw_inputs.values():
        shutil.copyfile(path, folder / path.name)
    return folder


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rename_transcripts(path: Path) -> None:
    text = gzip.decompress(path.read_bytes()).replace(b"SIMT", b"OTHER")
    path.write_bytes(gzip.compress(text))


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("genome.fa.gz", Path.unlink, "no such file"),
    "empty": ("annotation.gtf.gz", lambda path: path.write_bytes(b""), "an empty file"),
    "wrong format": (
        "annotation.gtf.gz",
        lambda path: path.write_bytes(gzip.compress(b"a,b\n1,2\n")),
        "annotation.gtf.gz",
    ),
    "truncated": ("transcript_tpm.gct.gz", truncate, "transcript_tpm.gct.gz"),
    "no transcript in common": ("transcript_tpm.gct.gz", rename_transcripts, "transcript"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_raw_files_are_refused_by_name(damage: str, raw: Path, tmp_path: Path) -> None:
    name, apply, expected = DAMAGES[damage]
    apply(raw / name)
    line = refused(
        "validate-data", *PARAMS, "--data", raw, "--out", tmp_path / "out", "--work", tmp_path / "w", cwd=tmp_path
    )
    assert expected in line
    assert not (tmp_path / "out").exists()


def test_a_parameter_that_does_not_exist_names_the_nearest(tmp_path: Path) -> None:
    line = refused("train-model", *PARAMS, "--set", "train.lerning_rate=1", "--out", "model", cwd=tmp_path)
    assert "Did you mean 'learning_rate'?" in line


def test_an_input_that_is_no_artifact_is_refused(tmp_path: Path, raw_inputs: dict[str, Path]) -> None:
    folder = raw_inputs["genome"].parent
    line = refused("train-model", *PARAMS, "--transcripts", folder, "--out", "model", cwd=tmp_path)
    assert "expected an artifact, found a folder without manifest.json" in line
    assert not (tmp_path / "model").exists()


def test_a_folder_that_holds_another_run_is_refused_and_kept(
    tmp_path: Path, transcripts: Path, raw_inputs: dict[str, Path]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    inputs = ["--data", raw_inputs["genome"].parent, "--validation", transcripts.parent / "validation"]
    line = refused("extract-sequences", *PARAMS, *inputs, "--out", out, cwd=tmp_path)
    assert "expected an empty or absent folder" in line
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, transcripts: Path, raw_inputs: dict[str, Path]
) -> None:
    """A limit on the size of files stands in for a full disk: the same error from the same calls."""
    inputs = ["--data", raw_inputs["genome"].parent, "--validation", transcripts.parent / "validation"]
    arguments = [
        ISOFORMER,
        "extract-sequences",
        *PARAMS,
        *inputs,
        "--out",
        tmp_path / "out",
        "--work",
        tmp_path / "work",
    ]
    limited = ["bash", "-c", 'ulimit -f 64; exec "$@"', "bash", *map(str, arguments)]
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "expected free space" in done.stderr
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
