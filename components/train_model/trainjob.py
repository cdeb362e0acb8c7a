"""Training on several machines: the Kubeflow Trainer v2 manifests, built by one pure function.

Each pod runs `isoformer train-model`, which reads from PET_* variables (set by the Trainer) how many machines and
processes there are and starts torchrun. All share one ReadWriteMany claim: data, work folder with checkpoints, output.
A pod that is evicted or preempted ends with status 75 and does not count as a failure; bad input (2) ends the job, at
once; whatever else fails starts the set of pods anew, which goes on from the newest checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.harness import EXIT_STOPPED, GRACE_S
from model.errors import InputError

TRAINER_API = "trainer.kubeflow.org/v1alpha1"
# By this label the Trainer knows which of a runtime's pods are to train, by this container name what to run in them.
ANCESTOR_LABEL = "trainer.kubeflow.org/trainjob-ancestor-step"
NODE = "node"
CLAIM_MOUNT = "/mnt/isoformer"
EXIT_BAD_INPUT = 2


@dataclass(frozen=True, kw_only=True)
class TrainJobRequest:
    """What differs between jobs; paths are below the claim's mount.

    `image` by tag or digest; `params` a file of parameters, on top of it `preset` and `overrides` (as of `--set`);
    `processes_per_node` is the number of GPUs of a machine. `grace_s`: seconds from SIGTERM to SIGKILL, in which the
    checkpoint is written. `runtime`: an existing TrainingRuntime, which then says claim, restarts and grace; without it
    the job brings its own.
    """

    name: str
    namespace: str
    image: str
    claim: str
    nodes: int
    processes_per_node: int
    transcripts: str = f"{CLAIM_MOUNT}/transcripts"
    out: str = f"{CLAIM_MOUNT}/model"
    work: str = f"{CLAIM_MOUNT}/work"
    params: str | None = None
    preset: str | None = None
    overrides: tuple[str, ...] = ()
    accelerator: str = "nvidia.com/gpu"
    cpu: str = "16"
    memory: str = "128Gi"
    shared_memory: str = "16Gi"
    max_restarts: int = 10
    grace_s: int = GRACE_S
    runtime: str | None = None


def train_job(request: TrainJobRequest) -> list[dict[str, Any]]:
    """The TrainingRuntime (if it is the job's own) and the TrainJob of a request, as data for YAML.

    Raises `InputError` for a moving image tag, or fewer than one machine or process.
    """
    if "@sha256:" not in request.image and request.image.rpartition(":")[2] in ("", "latest", request.image):
        raise InputError(
            where="image", expected="a fixed tag or digest", found=repr(request.image), fix="Name the tag of a release."
        )
    if request.nodes < 1 or request.processes_per_node < 1:
        found = f"{request.nodes} × {request.processes_per_node}"
        raise InputError(where="nodes", expected="at least one machine and process", found=found, fix="Correct it.")
    return [_job(request)] if request.runtime else [_runtime(request), _job(request)]


def _job(request: TrainJobRequest) -> dict[str, Any]:
    runtime = request.runtime or request.name
    resources = {"cpu": request.cpu, "memory": request.memory}
    if request.accelerator:
        resources[request.accelerator] = str(request.processes_per_node)
    return {
        "apiVersion": TRAINER_API,
        "kind": "TrainJob",
        "metadata": _metadata(request),
        "spec": {
            "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": runtime},
            "trainer": {
                "image": request.image,
                "command": ["isoformer", "train-model"],
                "args": _arguments(request),
                "numNodes": request.nodes,
                "numProcPerNode": request.processes_per_node,
                "resourcesPerNode": {"requests": resources, "limits": resources},
                "env": [{"name": name, "value": value} for name, value in _environment(request).items()],
            },
        },
    }


def _environment(request: TrainJobRequest) -> dict[str, str]:
    # Stale keys of a shared store hang restarts after a rank was killed.
    environment = {"PYTHONSAFEPATH": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    if request.runtime is None:
        # torchrun grants its ranks all the time that the pod has.
        environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(request.grace_s)
    return environment


def _arguments(request: TrainJobRequest) -> list[str]:
    arguments = ["--transcripts", request.transcripts, "--out", request.out, "--work", request.work]
    for flag, value in (("--params", request.params), ("--preset", request.preset)):
        if value is not None:
            arguments += [flag, value]
    return arguments + [part for override in request.overrides for part in ("--set", override)]


def _runtime(request: TrainJobRequest) -> dict[str, Any]:
    # Of what a pod failure policy ended, another start would only end the same way.
    bad_input = {"name": "badInput", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    return {
        "apiVersion": TRAINER_API,
        "kind": "TrainingRuntime",
        "metadata": _metadata(request),
        "spec": {
            "mlPolicy": {"numNodes": request.nodes, "torch": {}},
            "template": {
                "spec": {
                    "failurePolicy": {"maxRestarts": request.max_restarts, "rules": [bad_input]},
                    "replicatedJobs": [{"name": NODE, "template": _pods_of_a_node_job(request)}],
                }
            },
        },
    }


def _pods_of_a_node_job(request: TrainJobRequest) -> dict[str, Any]:
    """A batch/v1 JobTemplateSpec."""
    rules = [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [EXIT_BAD_INPUT]}},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [EXIT_STOPPED]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
    return {
        "metadata": {"labels": {ANCESTOR_LABEL: "trainer"}},
        "spec": {
            "backoffLimit": 0,
            "podFailurePolicy": {"rules": rules},
            "template": {"metadata": {"labels": _labels()}, "spec": _pod(request)},
        },
    }


def _pod(request: TrainJobRequest) -> dict[str, Any]:
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": request.grace_s,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": NODE,
                "image": request.image,
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "work", "mountPath": CLAIM_MOUNT},
                    {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - a path in the pod
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
                ],
            }
        ],
        "volumes": [
            {"name": "work", "persistentVolumeClaim": {"claimName": request.claim}},
            # Ranks of a machine talk through shared memory, of which a pod has 64 MiB by default.
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": request.shared_memory}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _metadata(request: TrainJobRequest) -> dict[str, Any]:
    return {"name": request.name, "namespace": request.namespace, "labels": _labels()}


def _labels() -> dict[str, str]:
    return {"app.kubernetes.io/part-of": "isoformer", "isoformer/step": "train-model"}
