"""The manifests of a training on several machines are what Trainer v2 and Kubernetes take, field by field."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.train_model.trainjob import TrainJobRequest, train_job
from model.errors import InputError

ROOT = Path(__file__).parents[3]
REQUEST = TrainJobRequest(
    name="isoformer-train",
    namespace="team",
    image="registry.example/isoformer-train:0.1.0",
    claim="isoformer-work",
    nodes=2,
    processes_per_node=8,
    preset="paper",
    overrides=("runtime.sharding=fsdp", "train.seed=3"),
)


def test_the_trainer_api_knows_every_field() -> None:
    from kubeflow_trainer_api import models

    runtime, job = train_job(REQUEST)
    for data, kind in ((runtime, models.TrainerV1alpha1TrainingRuntime), (job, models.TrainerV1alpha1TrainJob)):
        # Its models drop what they do not know: only a whole round trip proves that nothing was.
        assert kind.from_dict(data).to_dict() == data


def test_kubernetes_takes_the_pods_strictly() -> None:
    import kubernetes_validate

    runtime, _ = train_job(REQUEST)
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    job: dict[str, Any] = {"apiVersion": "batch/v1", "kind": "Job", **node["template"]}
    job["metadata"] = {**job["metadata"], "name": "node"}
    kubernetes_validate.validate(job, "1.36", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**job, "spec": {**job["spec"], "backoffLimits": 1}}, "1.36", strict=True)


def test_torchrun_grants_its_ranks_the_grace_of_the_pod() -> None:
    runtime, job = train_job(replace(REQUEST, grace_s=900))
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert node["template"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 900
    granted = {"name": "TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "value": "900"}
    assert granted in job["spec"]["trainer"]["env"]
    # Of a runtime that is there, nobody here knows the grace.
    (job,) = train_job(replace(REQUEST, runtime="isoformer-torch"))
    assert granted["name"] not in {item["name"] for item in job["spec"]["trainer"]["env"]}


def test_the_job_runs_the_step_on_the_claim_and_restarts_safely() -> None:
    runtime, job = train_job(REQUEST)
    trainer = job["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 8)
    assert trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == "8"
    assert {"name": "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "value": "1"} in trainer["env"]
    assert trainer["args"][-4:] == ["--set", "runtime.sharding=fsdp", "--set", "train.seed=3"]
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    pod = node["template"]["spec"]["template"]["spec"]
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "isoformer-work"}
    mount = pod["containers"][0]["volumeMounts"][0]["mountPath"]
    paths = [trainer["args"][trainer["args"].index(flag) + 1] for flag in ("--transcripts", "--out", "--work")]
    assert all(path.startswith(f"{mount}/") for path in paths)
    actions = {
        code: rule["action"]
        for rule in node["template"]["spec"]["podFailurePolicy"]["rules"]
        for code in rule.get("onExitCodes", {}).get("values", ())
    }
    assert actions == {2: "FailJob", 75: "Ignore"}
    # Without this rule the set of pods would be started anew ten times to say the same.
    (rule,) = runtime["spec"]["template"]["spec"]["failurePolicy"]["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])


def test_the_runtime_that_is_deployed_starts_pods_under_the_same_policies() -> None:
    import yaml

    from components.train_model.trainjob_client import KINDS

    deployed = yaml.safe_load((ROOT / "pipelines" / "deploy" / "pipelines" / "training_runtime.yaml").read_text())
    runtime, _ = train_job(REQUEST)
    ours, theirs = (item["spec"]["template"]["spec"] for item in (runtime, deployed))
    assert ours["failurePolicy"] == theirs["failurePolicy"]
    for key in ("podFailurePolicy", "backoffLimit"):
        assert len({str(item["replicatedJobs"][0]["template"]["spec"][key]) for item in (ours, theirs)}) == 1, key
    (job,) = train_job(replace(REQUEST, runtime=deployed["metadata"]["name"]))
    assert job["spec"]["runtimeRef"]["name"] == "isoformer-torch"
    assert job["kind"] in KINDS


def test_the_command_of_the_job_is_one_that_the_command_line_has() -> None:
    from typer.testing import CliRunner

    from pipelines.cli import app

    _, job = train_job(REQUEST)
    command = [*job["spec"]["trainer"]["command"][1:], "--help"]
    shown = CliRunner().invoke(app, command, env={"COLUMNS": "200"}).output
    flags = [part for part in job["spec"]["trainer"]["args"] if part.startswith("--")]
    assert all(flag in shown for flag in flags)


def test_equal_requests_give_equal_manifests_and_a_moving_tag_is_refused() -> None:
    assert train_job(REQUEST) == train_job(REQUEST)
    for image in ("registry.example/isoformer-train", "registry.example/isoformer-train:" + "latest"):
        with pytest.raises(InputError, match="fixed tag"):
            train_job(TrainJobRequest(**{**vars(REQUEST), "image": image}))
