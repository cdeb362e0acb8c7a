"""A TrainJob is created, followed, judged and deleted through the real REST paths; its machines are real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.artifacts import digest_of, open_artifact
from components.harness import EXIT_STOPPED, StepRefusedError
from components.params import Params
from components.train_model import trainjob_client
from components.train_model.trainjob import TrainJobRequest
from components.train_model.trainjob_client import run_train_job, submit
from components.train_on_machines import step as cluster_step
from model.errors import InputError
from tests.components.train_model.cluster import Cluster

REQUEST = TrainJobRequest(
    name="isoformer-train",
    namespace="team",
    image="registry.example/isoformer-train:0.1.0",
    claim="isoformer-work",
    nodes=2,
    processes_per_node=1,
    accelerator="",
)
OBJECTS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainjob_client, "LOOK_EVERY_S", 1)
    monkeypatch.setattr(trainjob_client, "RETRY_S", 0.1)
    monkeypatch.setattr("components.train_model.job_logs.RETRY_S", 0.1)


@pytest.fixture
def clusters(tmp_path: Path) -> Iterator[Any]:
    made: list[Cluster] = []

    def make(*script: str) -> Cluster:
        made.append(Cluster(tmp_path, ["sh", "-c", "\n".join(script)] if script else None))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


def wait_until(done: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_job_is_followed_line_by_line_to_its_end_and_deleted(clusters: Any) -> None:
    cluster = clusters("echo first of $PET_NODE_RANK", "sleep 1", "echo last of $PET_NODE_RANK")
    told: list[tuple[float, str]] = []
    run_train_job(REQUEST, cluster.api(), lambda line: told.append((time.monotonic(), line)))
    lines = [line for _, line in told]
    for machine in "01":
        first, last = (lines.index(f"[machine {machine}] {word} of {machine}") for word in ("first", "last"))
        assert told[last][0] - told[first][0] > 0.5, "lines are told when they are written, not at the end"
    assert len([line for line in lines if "first of" in line]) == 2, "each line once"
    wait_until(lambda: not cluster.objects)
    created = [item for item in cluster.requests if item.startswith("POST")]
    assert created == [f"POST {OBJECTS}/trainingruntimes", f"POST {OBJECTS}/trainjobs"]


def test_a_failed_job_says_which_machine_ended_how_and_stays(clusters: Any) -> None:
    cluster = clusters("test $PET_NODE_RANK = 0 && exit 0", "echo lost the other ranks", "exit 3")
    with pytest.raises(RuntimeError, match=r"FailedJobs.*machine 1 ended with status 3.*lost the other ranks"):
        run_train_job(REQUEST, cluster.api(), lambda _: None)
    job = cluster.objects["trainjobs", REQUEST.name]
    assert "deletionTimestamp" not in job["metadata"]
    # Whoever deletes it deletes its runtime; and the next try does.
    owners = cluster.objects["trainingruntimes", REQUEST.name]["metadata"]["ownerReferences"]
    assert [owner["uid"] for owner in owners] == [job["metadata"]["uid"]]
    cluster.command = ["true"]
    run_train_job(REQUEST, cluster.api(), lambda _: None)


def test_bad_input_in_a_pod_is_bad_input_here(clusters: Any) -> None:
    cluster = clusters("echo isoformer: train.budget: expected more, found less", "exit 2")
    with pytest.raises(StepRefusedError, match=r"^train.budget: expected more, found less$"):
        run_train_job(REQUEST, cluster.api(), lambda _: None)


def test_a_job_that_runs_already_is_followed_and_another_of_its_name_is_left_alone(clusters: Any) -> None:
    cluster = clusters("sleep 1", "echo done")
    submit(REQUEST, cluster.api(), lambda _: None)
    with pytest.raises(InputError, match="one of others, still running"):
        run_train_job(replace(REQUEST, nodes=1), cluster.api(), lambda _: None)
    told: list[str] = []
    run_train_job(REQUEST, cluster.api(), told.append)
    assert told[0].endswith("is running already: following it")
    assert "[machine 1] done" in told
    assert sum(item.startswith("POST") for item in cluster.requests) == 2


def test_a_cluster_that_is_away_for_a_moment_is_asked_again(clusters: Any) -> None:
    cluster = clusters("sleep 2", "echo done")
    told: list[str] = []
    threading.Timer(0.7, lambda: setattr(cluster, "unavailable", 3)).start()
    run_train_job(REQUEST, cluster.api(), told.append)
    assert any("503 the server is being updated; trying again" in line for line in told)
    assert sorted(line for line in told if line.endswith("done")) == ["[machine 0] done", "[machine 1] done"]


def test_a_job_that_someone_deletes_is_an_error(clusters: Any) -> None:
    cluster = clusters("sleep 30")
    threading.Timer(0.7, lambda: cluster.delete("trainjobs", REQUEST.name)).start()
    with pytest.raises(RuntimeError, match="deleted by someone else"):
        run_train_job(REQUEST, cluster.api(), lambda _: None)


def test_an_existing_runtime_is_used_and_never_made_or_deleted(clusters: Any) -> None:
    cluster = clusters("true")
    run_train_job(replace(REQUEST, runtime="isoformer-torch"), cluster.api(), lambda _: None)
    wait_until(lambda: not cluster.objects)
    assert not any("trainingruntimes" in item for item in cluster.requests)


def test_what_others_made_is_never_deleted(clusters: Any) -> None:
    cluster = clusters("true")
    theirs = {"metadata": {"name": REQUEST.name}}
    cluster.create("trainingruntimes", theirs)
    with pytest.raises(InputError, match="made by others"):
        run_train_job(REQUEST, cluster.api(), lambda _: None)
    assert cluster.objects == {("trainingruntimes", REQUEST.name): theirs}
    assert not any(item.startswith("DELETE") for item in cluster.requests)


def start_command(cluster: Cluster, folder: Path, *more: str) -> subprocess.Popen[str]:
    """`isoformer train-job --submit --follow`, with a configuration of kubectl that names the cluster."""
    user: dict[str, Any] = {"name": "me", "user": {}}
    context = {"name": "here", "context": {"cluster": "here", "user": "me"}}
    place = {"name": "here", "cluster": {"server": cluster.address}}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "here"}
    (folder / "kubeconfig").write_text(
        json.dumps(config | {"clusters": [place], "users": [user], "contexts": [context]}), encoding="utf-8"
    )
    command = [str(Path(sys.executable).parent / "isoformer"), "train-job", "--submit", "--follow"]
    command += ["--image", REQUEST.image, "--claim", REQUEST.claim, "--name", REQUEST.name, "--namespace", "team"]
    command += ["--processes-per-node", "1", *more]
    environment = {**os.environ, "KUBECONFIG": str(folder / "kubeconfig")}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def test_sigterm_deletes_the_job_and_its_machines_get_time_to_stop(clusters: Any, tmp_path: Path) -> None:
    cluster = clusters("trap 'touch $0/saved-$PET_NODE_RANK; exit 75' TERM", "sleep 60 & wait")
    cluster.command.append(str(tmp_path))
    with start_command(cluster, tmp_path) as process:
        wait_until(lambda: len(cluster.pods) == 2)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == EXIT_STOPPED, said
    assert "TrainJob isoformer-train was deleted" in said
    wait_until(lambda: not cluster.objects and not cluster.pods)
    assert sorted(path.name for path in tmp_path.glob("saved-*")) == ["saved-0", "saved-1"]


def test_a_cluster_without_the_trainer_or_rights_is_said_in_one_line(tmp_path: Path, clusters: Any) -> None:
    cluster = clusters("true")
    cluster.forbidden = True
    with start_command(cluster, tmp_path) as process:
        _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "isoformer: Kubernetes: expected to read trainjobs/isoformer-train, found 403 no rights" in said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_step_on_two_machines_of_a_cluster_writes_the_artifact_of_the_step(
    clusters: Any, tmp_path: Path, sanity_params: Params, transcripts: Path
) -> None:
    cluster = clusters()  # runs what the manifest says: isoformer train-model, twice
    told: list[str] = []
    work, out = tmp_path / "work", tmp_path / "elsewhere" / "model"
    arguments = ({"transcripts": transcripts}, sanity_params, out, work, REQUEST, cluster.api())
    environment = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", environment)
        cluster_step.train(*arguments, mount=tmp_path, say=told.append)
    artifact = open_artifact(out, "model")
    assert artifact.manifest["inputs"] == {"transcripts": digest_of(transcripts)}
    assert json.loads((out / "run.json").read_text())["throughput"]["processes"] == 2
    assert any("epoch 0: train MSE" in line and line.startswith("[machine 0]") for line in told)
    assert list((work / "train_on_machines").iterdir()) == []
    with pytest.raises(InputError, match="expected a path on the claim, below"):
        cluster_step.train(*arguments, mount=tmp_path / "elsewhere")
