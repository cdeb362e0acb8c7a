"""The suites through the other doors: the compiled Kubeflow pipeline, and DVC's matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.experiments.suites import SUITES
from components.params import load_params
from pipelines.compile import compile_package
from pipelines.policy import POLICIES, Cluster

ROOT = Path(__file__).parents[3]
CLUSTER = Cluster(
    images="registry.example/isoformer",
    tag="0.1.0",
    work_claim="isoformer-work",
    accelerator="nvidia.com/gpu",
    accelerators=1,
)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("compiled") / "experiments.yaml"
    compile_package(path, CLUSTER, load_params(None, preset="sanity").to_json(), "experiments")
    return dict(next(yaml.safe_load_all(path.read_text(encoding="utf-8"))))


def test_trials_fan_out_over_parameters_and_never_over_artifacts(spec: dict[str, Any]) -> None:
    text = yaml.safe_dump(spec)
    assert "parameterIterator" in text
    assert "artifactIterator" not in text
    inside = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    loop = next(task for name, task in inside.items() if "loop" in name)
    assert loop["iteratorPolicy"]["parallelismLimit"] == 8
    assert inside["report-experiments"]["inputs"]["artifacts"]["evaluations"]["taskOutputArtifact"]["producerTask"]


def test_the_backend_knows_every_field_of_it(spec: dict[str, Any]) -> None:
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert parsed.pipeline_info.name == "isoformer-experiments"


def test_every_task_has_its_image_and_only_trials_have_an_accelerator(spec: dict[str, Any]) -> None:
    containers = {
        name.removeprefix("exec-").replace("-", "_"): executor["container"]
        for name, executor in spec["deploymentSpec"]["executors"].items()
        if "container" in executor
    }
    assert containers.keys() <= POLICIES.keys()
    assert {item["image"].rpartition("-")[2] for item in containers.values()} == {"data:0.1.0", "train:0.1.0"}
    with_accelerator = {name for name, item in containers.items() if "accelerator" in item["resources"]}
    assert with_accelerator == {"run_trial"}


def test_dvc_has_a_stage_for_every_suite_that_needs_no_checkpoint() -> None:
    stages = yaml.safe_load((ROOT / "experiments" / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    names = stages["suite"]["matrix"]["name"]
    assert set(names) == set(SUITES) - {"pre-training"}
    assert stages["report"]["deps"] == [f"artifacts/experiments/{name}.json" for name in names]
