"""The compiled package is what was reviewed, and what a Kubeflow backend takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from components.params import load_params
from model.errors import InputError
from pipelines.compile import compile_package
from pipelines.graphs import PIPELINES
from pipelines.policy import POLICIES, Cluster
from pipelines.stages import RAW_INPUTS, README_BEGIN, README_END, STAGES, readme_table

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
REVIEWED = ("training", "prediction", "monitoring")
CLUSTER = Cluster(images="registry.example/isoformer", tag="0.1.0", work_claim="isoformer-work")
STEPS = [item for item in STAGES if item.name != "fabricate"]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compiled") / "training_pipeline.yaml"
    # The defaults of the code, not params.yaml: a changed recipe is no change of the graph.
    compile_package(path, CLUSTER, load_params(None, preset="sanity").to_json())
    return path


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every pipeline, compiled."""
    folder = tmp_path_factory.mktemp("all")
    settings = load_params(None, preset="sanity").to_json()
    for name in PIPELINES:
        compile_package(folder / f"{name}_pipeline.yaml", CLUSTER, settings, name)
    return {name: folder / f"{name}_pipeline.yaml" for name in PIPELINES}


@pytest.mark.parametrize("name", REVIEWED)
def test_the_package_equals_the_reviewed_one(packages: dict[str, Path], name: str) -> None:
    """To review a change: isoformer pipeline compile, or delete the golden file and copy the new one there."""
    reviewed = GOLDEN / f"{name}_pipeline.yaml"
    assert packages[name].read_text(encoding="utf-8") == reviewed.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PIPELINES)
def test_the_backend_knows_every_field_of_it(packages: dict[str, Path], name: str) -> None:
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    spec = next(yaml.safe_load_all(packages[name].read_text(encoding="utf-8")))
    parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert parsed.pipeline_info.name == f"isoformer-{name}"
    # A Workflow over 1.5 MiB is refused by Kubernetes.
    assert packages[name].stat().st_size < 150_000


def test_images_carry_the_fixed_tag_and_training_is_never_cached(package: Path) -> None:
    text = package.read_text(encoding="utf-8")
    spec = next(yaml.safe_load_all(text))
    executors = spec["deploymentSpec"]["executors"]
    images = {item["container"]["image"] for item in executors.values() if "container" in item}
    assert images == {f"registry.example/isoformer-{item.image}:0.1.0" for item in STEPS}
    assert "pip install" not in text
    tasks = {**spec["root"]["dag"]["tasks"]}
    for component in spec["components"].values():
        tasks |= component.get("dag", {}).get("tasks", {})
    for name in ("train-model", "evaluate-model", "package-model"):
        assert not tasks[name]["cachingOptions"].get("enableCache")


def test_every_task_has_a_policy_and_every_policy_a_task(packages: dict[str, Path]) -> None:
    everywhere = set()
    for name, package in packages.items():
        spec = next(yaml.safe_load_all(package.read_text(encoding="utf-8")))
        tasks = {item.removeprefix("exec-").replace("-", "_") for item in spec["deploymentSpec"]["executors"]}
        steps = {item for item in tasks if not item.startswith("importer")}
        assert steps == {*PIPELINES[name].steps, "summarise_run"}
        # Every task is two pods and about ten seconds of a cluster.
        assert len(steps) <= 7
        everywhere |= steps
    # In place of train_model, where several machines train.
    assert POLICIES.keys() == everywhere | {"train_on_machines"}


def test_on_several_machines_the_training_step_follows_a_trainjob(tmp_path: Path) -> None:
    """Its pod asks for no accelerator; what it is told makes the job that the deployed runtime starts."""
    from components.train_model.trainjob import train_job
    from components.train_on_machines.step import request_of

    cluster = replace(CLUSTER, nodes=2, accelerator="nvidia.com/gpu", accelerators=4, machine_memory="64Gi")
    path = tmp_path / "training_pipeline.yaml"
    compile_package(path, cluster, load_params(None, preset="sanity").to_json())
    spec, platform = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    executors = spec["deploymentSpec"]["executors"]
    assert "exec-train-model" not in executors
    container = executors["exec-train-on-machines"]["container"]
    assert "accelerator" not in container["resources"]
    assert container["image"] == "registry.example/isoformer-train:0.1.0"
    mounts = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train-on-machines"]["pvcMount"]
    assert mounts[0]["mountPath"] == "/mnt/isoformer"

    request = request_of({item["name"]: item["value"] for item in container["env"]}, "team")
    (job,) = train_job(request)
    trainer = job["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 4)
    assert trainer["resourcesPerNode"]["limits"] == {"nvidia.com/gpu": "4", "cpu": "16", "memory": "64Gi"}
    runtime = yaml.safe_load((ROOT / "pipelines/deploy/pipelines/training_runtime.yaml").read_text(encoding="utf-8"))
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]


def test_several_machines_without_a_claim_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    settings = load_params(None, preset="sanity").to_json()
    for cluster, pipeline, says in (
        (Cluster(nodes=2), "training", "--work-claim"),
        (replace(CLUSTER, nodes=2), "experiments", "one machine each"),
        (replace(CLUSTER, accelerators=8), "training", r"--accelerator.*nvidia\.com/gpu"),
    ):
        with pytest.raises(InputError, match=says):
            compile_package(tmp_path / "package.yaml", cluster, settings, pipeline)
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_is_not_told_its_machines_says_what_sets_them() -> None:
    from components.train_on_machines.step import request_of

    with pytest.raises(InputError, match=r"ISOFORMER_NODES: expected a number.*--nodes"):
        request_of({}, "team")


@pytest.mark.parametrize("name", PIPELINES)
def test_whatever_happens_the_summary_is_written_last(packages: dict[str, Path], name: str) -> None:
    spec = next(yaml.safe_load_all(packages[name].read_text(encoding="utf-8")))
    root = spec["root"]["dag"]["tasks"]
    assert set(root) == {"exit-handler-1", "summarise-run"}
    assert root["summarise-run"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert root["summarise-run"]["dependentTasks"] == ["exit-handler-1"]


@pytest.mark.parametrize("name", PIPELINES)
def test_no_list_of_artifacts_is_looped_over(packages: dict[str, Path], name: str) -> None:
    """The backend refuses it ("artifact iterator not implemented yet") though the SDK compiles it."""
    assert "artifactIterator" not in packages[name].read_text(encoding="utf-8")


def test_dvc_runs_the_steps_of_the_table() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert list(stages) == [item.command for item in STAGES]
    for item in STAGES:
        entry = stages[item.command]
        assert entry["cmd"].startswith(f"isoformer {item.command} ")
        assert entry["outs"] == [item.place]
        assert set(item.sections) <= set(entry["params"])
        for name in set(item.inputs) - set(RAW_INPUTS):
            place = next(other.place for other in STAGES if other.output == name)
            assert any(dependency.startswith(f"{place}/") for dependency in entry["deps"])


def test_the_readme_shows_the_table() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = text.partition(README_BEGIN)[2].partition(README_END)[0].strip()
    assert shown == readme_table()
