"""Data under DVC travel through a remote without being made again, and damage that DVC lets pass is caught."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.artifacts import open_artifact

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
SANITY = ["--params", str(ROOT / "params.yaml"), "--preset", "sanity"]
TARGET = "extract-sequences"


def call(*command: str, cwd: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == status, f"{command}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def new_project(place: Path, remote: Path) -> Path:
    """What a clone holds: code, stages, parameters; and DVC's settings, with the remote at `remote`."""
    for name in ("components", "model", "serving"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copyfile(ROOT / name, place / name)
    shown = call("isoformer", "params", "show", *SANITY, cwd=place).stdout
    (place / "params.yaml").write_text(shown, encoding="utf-8")
    call("dvc", "init", "--no-scm", "--quiet", cwd=place)
    shutil.copyfile(ROOT / ".dvc" / "config", place / ".dvc" / "config")
    call("dvc", "config", "core.no_scm", "true", cwd=place)
    call("dvc", "remote", "modify", "local", "url", str(remote), cwd=place)
    return place


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("remote")


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, remote: Path) -> Path:
    """A project in which the data were made and pushed."""
    place = new_project(tmp_path_factory.mktemp("origin"), remote)
    call("dvc", "repro", TARGET, cwd=place)
    call("dvc", "push", cwd=place)
    return place


@pytest.fixture
def clone(tmp_path: Path, origin: Path, remote: Path) -> Path:
    """Another place with the same lock file and nothing else of the data."""
    place = tmp_path / "clone"
    place.mkdir()
    new_project(place, remote)
    shutil.copyfile(origin / "dvc.lock", place / "dvc.lock")
    return place


def test_another_place_pulls_what_was_pushed_and_makes_nothing_again(clone: Path) -> None:
    assert not (clone / "artifacts").exists()
    done = call("dvc", "repro", "--pull", TARGET, cwd=clone)
    assert "Running stage" not in done.stdout
    # The artifact is whole, and a step takes it as it is.
    line = call("isoformer", TARGET, cwd=clone).stderr
    assert "is complete already" in line


@pytest.mark.parametrize("damage", ["flipped", "truncated"])
def test_a_damaged_cache_object_is_caught_by_the_manifest(clone: Path, damage: str) -> None:
    """DVC hands out a damaged object of its cache with status 0; the next step names the file."""
    call("dvc", "repro", "--pull", TARGET, cwd=clone)
    file = clone / "artifacts" / "transcripts" / "payload" / "transcripts.parquet"
    content = bytearray(file.read_bytes())
    objects = [
        path for path in (clone / ".dvc" / "cache").rglob("*") if path.is_file() and path.read_bytes() == content
    ]
    assert len(objects) == 1
    mode = objects[0].stat().st_mode
    objects[0].chmod(0o644)
    content[len(content) // 2] ^= 1
    objects[0].write_bytes(content if damage == "flipped" else content[:-100])
    objects[0].chmod(mode)
    shutil.rmtree(clone / "artifacts" / "transcripts")
    call("dvc", "checkout", "artifacts/transcripts", cwd=clone)
    line = call("isoformer", "train-model", cwd=clone, status=2).stderr
    assert "transcripts.parquet" in line
    assert "damaged" in line
    # The way back that the line names.
    call("dvc", "repro", "--force", "--single-item", TARGET, cwd=clone)
    open_artifact(clone / "artifacts" / "transcripts", "transcripts")
