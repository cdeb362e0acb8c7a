"""How each step runs on a cluster: resources, retries, deadline, caching, user. What the SDK can say stands here, once.

Read-only root file systems, dropped capabilities and retries after an eviction cannot be said by the SDK (2.17): they
are policy of the cluster's namespace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.run_notes import RUN_VARIABLE
from pipelines.stages import STAGES

if TYPE_CHECKING:
    from kfp import dsl

# The user of the images; group 0 files are none of theirs.
USER_ID = 1000
WORK_MOUNT = "/mnt/isoformer"
# Kubeflow labels every pod of a run with the run's id.
RUN_LABEL_FIELD = "metadata.labels['pipeline/runid']"

# Secrets by reference only: key of the secret → variable that fsspec's S3 reads.
SECRET_KEYS = {"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"}
NEEDS_ACCELERATOR = ("train_model", "run_trial")
NEEDS_REGISTRY = ("evaluate_model", "package_model", "batch_predict", "monitor_drift")


@dataclass(frozen=True, kw_only=True)
class StepPolicy:
    """Requests and limits of one step's pod; `cached` where Kubeflow may reuse an earlier result.

    `image` is told here for what is no stage of the table.
    """

    cpu: str
    memory: str
    minutes: int
    retries: int = 2
    cached: bool = False
    image: str = ""


POLICIES: dict[str, StepPolicy] = {
    # Not cached: Kubeflow knows the folder of the raw files by its address, and files there may change.
    "validate_data": StepPolicy(cpu="2", memory="8Gi", minutes=60),
    "extract_sequences": StepPolicy(cpu="4", memory="16Gi", minutes=120, cached=True),
    # Retries go on from the last checkpoint, where the work folder is a claim.
    "train_model": StepPolicy(cpu="8", memory="32Gi", minutes=7 * 24 * 60, retries=5),
    # Only follows the TrainJob that trains; retries find it by its name.
    "train_on_machines": StepPolicy(cpu="500m", memory="2Gi", minutes=7 * 24 * 60, retries=5, image="train"),
    "evaluate_model": StepPolicy(cpu="8", memory="32Gi", minutes=12 * 60),
    "package_model": StepPolicy(cpu="2", memory="8Gi", minutes=60),
    # Parts that are done are not predicted again, where the work folder is a claim.
    "batch_predict": StepPolicy(cpu="8", memory="32Gi", minutes=24 * 60, retries=5, image="package"),
    "monitor_drift": StepPolicy(cpu="1", memory="4Gi", minutes=60, image="package"),
    "plan_trials": StepPolicy(cpu="1", memory="2Gi", minutes=10, image="train"),
    # Training and evaluation of one trial.
    "run_trial": StepPolicy(cpu="8", memory="32Gi", minutes=7 * 24 * 60, retries=5, image="train"),
    "report_experiments": StepPolicy(cpu="2", memory="8Gi", minutes=60, image="train"),
    "summarise_run": StepPolicy(cpu="500m", memory="1Gi", minutes=10, image="data"),
}


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What differs between clusters: where images come from, the accelerator, the claim that holds the work folder.

    `images` is the prefix before `-data:<tag>`; `work_claim` an existing claim, empty for none (checkpoints then die
    with the pod); `accelerator` a resource name such as nvidia.com/gpu, `accelerators` how many of it a machine that
    trains has; `nodes` above 1 train as a TrainJob, by the TrainingRuntime `runtime` (empty: its own), on the claim,
    each with `machine_cpu` and `machine_memory`; `retries` beats the policy of every step; `registry_secret` names a
    secret with the keys of `SECRET_KEYS`, for a registry on S3.
    """

    images: str = "localhost/isoformer"
    tag: str = "dev"
    accelerator: str = ""
    accelerators: int = 0
    nodes: int = 1
    runtime: str = "isoformer-torch"
    machine_cpu: str = "16"
    machine_memory: str = "128Gi"
    work_claim: str = ""
    owner: str = "isoformer"
    retries: int | None = None
    retry_after: str = "30s"
    registry_secret: str = ""

    @property
    def work_root(self) -> str:
        """Where steps keep what survives a retry: the mounted claim, or without one a folder any user may write."""
        return WORK_MOUNT if self.work_claim else "/tmp/isoformer-work"  # noqa: S108 a path in the pod

    def image(self, name: str) -> str:
        """The full name of an image: data, train, package or serve."""
        return f"{self.images}-{name}:{self.tag}"


def image_of(step: str) -> str:
    """The image that a step runs in: data, train, package or serve."""
    return {item.name: item.image for item in STAGES}.get(step) or POLICIES[step].image


def place(task: dsl.PipelineTask, cluster: Cluster) -> dsl.PipelineTask:
    """Give a task, named like its step, its image and its policy; returns it."""
    from kfp import kubernetes

    step = task.name.replace("-", "_")
    policy = POLICIES[step]
    task.set_container_image(cluster.image(image_of(step)))
    task.set_cpu_request(policy.cpu).set_cpu_limit(policy.cpu)
    task.set_memory_request(policy.memory).set_memory_limit(policy.memory)
    retries = policy.retries if cluster.retries is None else cluster.retries
    if retries:
        task.set_retry(retries, backoff_duration=cluster.retry_after, backoff_factor=2.0, backoff_max_duration="10m")
    task.set_caching_options(policy.cached)
    task.set_env_variable("PYTHONSAFEPATH", "1")
    kubernetes.use_field_path_as_env(task, env_name=RUN_VARIABLE, field_path=RUN_LABEL_FIELD)
    kubernetes.set_timeout(task, policy.minutes * 60)
    kubernetes.set_security_context(task, run_as_user=USER_ID, run_as_group=USER_ID, run_as_non_root=True)
    kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "isoformer")
    kubernetes.add_pod_label(task, "isoformer/step", step.replace("_", "-"))
    kubernetes.add_pod_label(task, "isoformer/owner", cluster.owner)
    if cluster.work_claim:
        kubernetes.mount_pvc(task, pvc_name=cluster.work_claim, mount_path=WORK_MOUNT)
    if cluster.registry_secret and step in NEEDS_REGISTRY:
        kubernetes.use_secret_as_env(task, cluster.registry_secret, secret_key_to_env=dict(SECRET_KEYS))
    if step in NEEDS_ACCELERATOR:
        _give_accelerators(task, cluster)
    if step == "train_on_machines":
        _describe_machines(task, cluster)
    return task


def _describe_machines(task: dsl.PipelineTask, cluster: Cluster) -> None:
    from components.train_on_machines.step import VARIABLES

    told = {
        "nodes": cluster.nodes,
        "processes_per_node": max(cluster.accelerators, 1),
        "image": cluster.image("train"),
        "claim": cluster.work_claim,
        "accelerator": cluster.accelerator if cluster.accelerators else "",
        "runtime": cluster.runtime,
        "cpu": cluster.machine_cpu,
        "memory": cluster.machine_memory,
    }
    for name, variable in VARIABLES.items():
        task.set_env_variable(variable, str(told[name]))


def _give_accelerators(task: dsl.PipelineTask, cluster: Cluster) -> None:
    from kfp import kubernetes

    # Data loading between processes goes through shared memory, of which a pod has 64 MiB by default.
    kubernetes.empty_dir_mount(task, volume_name="shm", mount_path="/dev/shm", medium="Memory", size_limit="8Gi")  # noqa: S108
    if cluster.accelerators:
        task.set_accelerator_type(cluster.accelerator).set_accelerator_limit(cluster.accelerators)
