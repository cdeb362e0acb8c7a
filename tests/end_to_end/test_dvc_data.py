"""Data under DVC travel through a remote without being made again, and damage that DVC lets pass is caught."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.artifacts import open_artifact

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
ENVIRONMENT = {**os.environ, **KEYS, "PATH": f"{BIN}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
SANITY = ["--params", str(ROOT / "params.yaml"), "--preset", "sanity"]
TARGET = "extract-sequences"


def call(*command: str, cwd: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == status, f"{command}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


@dataclass(frozen=True)
class Remote:
    """Where DVC keeps data: an address and, for S3, the endpoint."""

    url: str
    endpoint: str = ""


def new_project(place: Path, remote: Remote) -> Path:
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
    call("dvc", "remote", "modify", "local", "url", remote.url, cwd=place)
    if remote.endpoint:
        call("dvc", "remote", "modify", "local", "endpointurl", remote.endpoint, cwd=place)
    return place


@pytest.fixture(scope="module", params=["folder", "s3"])
def remote(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """A folder, and a bucket of an S3 server on loopback."""
    if request.param == "folder":
        yield Remote(str(tmp_path_factory.mktemp("remote")))
        return
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    try:
        make_bucket(endpoint, "isoformer")
        yield Remote("s3://isoformer/data", endpoint)
    finally:
        server.stop()


def make_bucket(endpoint: str, name: str) -> None:
    import boto3

    boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region_name=KEYS["AWS_DEFAULT_REGION"],
    ).create_bucket(Bucket=name)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, remote: Remote) -> Path:
    """A project in which the data were made and pushed."""
    place = new_project(tmp_path_factory.mktemp("origin"), remote)
    call("dvc", "repro", TARGET, cwd=place)
    call("dvc", "push", cwd=place)
    return place


@pytest.fixture
def clone(tmp_path: Path, origin: Path, remote: Remote) -> Path:
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


def test_an_experiment_changes_a_parameter_and_leaves_the_workspace_comparable(tmp_path: Path) -> None:
    """`dvc exp run -S` runs what depends on the parameter, keeps the result apart, and shows it beside the baseline."""
    place = new_project(tmp_path / "lab", Remote(str(tmp_path / "remote")))
    # Experiments are commits, so this project has git.
    call("dvc", "config", "core.no_scm", "false", cwd=place)
    shutil.copyfile(ROOT / ".gitignore", place / ".gitignore")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org")
    call("git", "init", "--quiet", cwd=place)
    call("dvc", "repro", "validate-data", cwd=place)
    call("git", "add", "--all", cwd=place)
    call(*git, "commit", "--quiet", "-m", "baseline", cwd=place)
    environment = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org"}
    environment |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org"}
    ENVIRONMENT.update(environment)
    call("dvc", "exp", "run", "--name", "strict", "-S", "validate_data.warn_tissues=31", "validate-data", cwd=place)
    shown = json.loads(call("dvc", "exp", "show", "--json", cwd=place).stdout)
    names = [experiment["name"] for item in shown for experiment in item.get("experiments") or ()]
    assert "strict" in names
    difference = json.loads(call("dvc", "exp", "diff", "HEAD", "strict", "--json", cwd=place).stdout)
    assert difference["params"]["params.yaml"]["validate_data.warn_tissues"] == {"old": 30, "new": 31, "diff": 1}
