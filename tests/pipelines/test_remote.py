"""Submitting to a Kubeflow Pipelines installation: the real client and REST paths, on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.harness import UnavailableError
from components.params import load_params
from model.errors import InputError
from pipelines.compile import compile_package
from pipelines.packages import given_arguments
from pipelines.policy import Cluster
from pipelines.remote import Endpoint, Remote
from tests.pipelines.kfp_server import TOKEN, Kubeflow, kubeflow

ISOFORMER = str(Path(sys.executable).parent / "isoformer")
ARGUMENTS = {"data_uri": "s3://lab/raw", "registry": "s3://lab/models"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "training_pipeline.yaml"
    compile_package(path, Cluster(work_claim="work"), load_params(None, preset="sanity").to_json())
    return path


@pytest.fixture
def server() -> Iterator[Kubeflow]:
    with kubeflow() as running:
        yield running


@pytest.fixture
def remote(server: Kubeflow, tmp_path: Path) -> Remote:
    (tmp_path / "token").write_text(TOKEN)
    return Remote(Endpoint(host=server.address, namespace="lab", token_file=tmp_path / "token"))


def test_a_submitted_run_carries_the_package_and_its_arguments(remote: Remote, server: Kubeflow, package: Path) -> None:
    run_id = remote.submit(package, name="first", experiment="isoformer", arguments=ARGUMENTS, service_account="runner")
    run = server.runs[run_id]
    assert run["display_name"] == "first"
    assert run["service_account"] == "runner"
    assert run["runtime_config"]["parameters"] == ARGUMENTS
    assert server.experiments["isoformer"]["namespace"] == "lab"
    # The platform's half (claims, users, deadlines) travels with the specification.
    assert "fieldPathAsEnv" in str(run["pipeline_spec"]["platform_spec"])
    remote.submit(package, name="second", experiment="isoformer", arguments=ARGUMENTS)
    assert len(server.experiments) == 1


def test_a_schedule_runs_one_at_a_time_and_makes_up_for_none(remote: Remote, server: Kubeflow, package: Path) -> None:
    name = {"name": "weekly", "experiment": "isoformer", "arguments": ARGUMENTS}
    recurring = server.recurring[remote.schedule(package, cron="0 0 3 * * 1", **name)]  # type: ignore[arg-type]
    assert recurring["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert (recurring["mode"], str(recurring["max_concurrency"]), recurring["no_catchup"]) == ("ENABLE", "1", True)
    with pytest.raises(InputError, match="six fields"):
        remote.schedule(package, cron="0 3 * * 1", **name)  # type: ignore[arg-type]


def test_a_schedule_takes_the_place_of_the_one_of_its_name_alone(
    remote: Remote, server: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def schedule(name: str, cron: str = "0 0 3 * * 1", **arguments: Any) -> str:
        given = arguments or ARGUMENTS
        return remote.schedule(package, name=name, experiment="isoformer", arguments=given, cron=cron)

    others = {schedule(name) for name in ("first", "second", "third")}
    old = schedule("weekly")
    with pytest.raises(UnavailableError):
        schedule("weekly", nothing="given")
    assert server.recurring.keys() == others | {old}
    new = schedule("weekly", cron="0 0 4 * * 1")
    assert server.recurring.keys() == others | {new}
    assert old in capsys.readouterr().err


def test_following_tells_each_change_once_and_ends_with_the_run(
    remote: Remote, server: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = remote.submit(package, name="first", experiment="isoformer", arguments=ARGUMENTS)
    server.story = [
        ("PENDING", []),
        ("RUNNING", [("root", "RUNNING", ""), ("validate-data-driver", "SUCCEEDED", "")]),
        ("RUNNING", [("root", "RUNNING", ""), ("validate-data", "RUNNING", "")]),
        ("RUNNING", [("validate-data", "RUNNING", "")]),
        # A cancelled run ends; kfp's own waiting would go on for ever.
        ("CANCELED", [("validate-data", "FAILED", "exit status 2")]),
    ]
    ended = remote.follow(run_id, every_s=0.01)
    assert ended.state == "CANCELED"
    assert capsys.readouterr().err.splitlines() == ["validate-data: running", "validate-data: failed exit status 2"]


def test_what_the_server_refuses_is_told_in_one_line(remote: Remote, package: Path) -> None:
    with pytest.raises(UnavailableError, match=r"answered 400 .*parameter \w+ is not optional") as caught:
        remote.submit(package, name="first", experiment="isoformer", arguments={})
    assert "\n" not in str(caught.value)
    with pytest.raises(UnavailableError, match="404"):
        remote.state("11111111-0000")


def test_a_wrong_token_and_a_dead_address_are_told_apart(
    server: Kubeflow, package: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KFP_TOKEN", "wrong")
    remote = Remote(Endpoint(host=server.address, namespace="lab"))
    with pytest.raises(UnavailableError, match=r"answered 401 .*not authenticated"):
        remote.state("x")
    monkeypatch.setenv("KFP_TOKEN", TOKEN)
    with pytest.raises(UnavailableError, match="cannot be reached"):
        Remote(Endpoint(host="http://127.0.0.1:9", namespace="lab")).state("x")
    with pytest.raises(InputError, match="--token-file"):
        Remote(Endpoint(host=server.address, token_file=tmp_path / "none"))
    with pytest.raises(InputError, match="--host"):
        Remote(Endpoint(host="kubeflow.example"))


def test_arguments_are_checked_before_anything_is_asked_of_the_cluster(package: Path, tmp_path: Path) -> None:
    assert given_arguments(package, ["data_uri=a=b", "registry=r"]) == {"data_uri": "a=b", "registry": "r"}
    with pytest.raises(InputError, match="Did you mean data_uri"):
        given_arguments(package, ["data_url=a", "registry=r"])
    with pytest.raises(InputError, match="a value for registry"):
        given_arguments(package, ["data_uri=a"])
    with pytest.raises(InputError, match="name=value"):
        given_arguments(package, ["data_uri"])
    (tmp_path / "other.yaml").write_text("kind: Deployment")
    with pytest.raises(InputError, match="pipeline specification"):
        given_arguments(tmp_path / "other.yaml", [])


def test_submit_and_status_from_the_command_line(server: Kubeflow, package: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "KFP_TOKEN": TOKEN, "KF_PIPELINES_ENDPOINT": server.address}

    def isoformer(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [ISOFORMER, "pipeline", *arguments, "--namespace", "lab"]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    given = [f"--arg={name}={value}" for name, value in ARGUMENTS.items()]
    done = isoformer("submit", str(package), *given)
    assert done.returncode == 0, done.stderr
    run_id = done.stdout.strip()
    assert run_id in server.runs
    assert done.stderr == ""
    server.story = [("FAILED", [("extract-sequences", "FAILED", "exit status 2"), ("summarise-run", "SUCCEEDED", "")])]
    told = isoformer("status", run_id)
    assert told.returncode == 1
    assert told.stdout.splitlines()[:2] == ["extract-sequences  failed  exit status 2", "summarise-run      succeeded"]
    assert f"/#/runs/details/{run_id}" in told.stdout
    refused = isoformer("submit", str(package), "--arg=data_uri=x")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
