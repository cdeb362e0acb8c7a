"""The pipeline in its images: no network, read-only root, an ordinary user, and failures that show.

.ci/image builds the images, starts the engine's socket, and names both in DOCKER_HOST and ISOFORMER_IMAGES.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging_inputs import packaged

from components.artifacts import open_artifact
from components.package_model.bento import bentoml_environment
from components.package_model.boot import ask
from serving.client import Client

ROOT = Path(__file__).parents[2]
ISOFORMER = str(Path(sys.executable).parent / "isoformer")
IMAGES = os.environ.get("ISOFORMER_IMAGES", "")
PREFIX, _, TAG = IMAGES.rpartition(":")
# podman's settings under which a build finds a base and a package index.
BENTO_CONFIGURATION = os.environ.get("ISOFORMER_BENTO_CONFIGURATION", "")
# A model of 20 steps is blessed here, so that packaging runs too; what it predicts is not the point.
LENIENT = {
    "min_test_genes": "1",
    "min_r2": "-100",
    "min_spearman": "-1",
    "better_than": "[]",
    "within_gene_above_chance": "false",
    "tissue_identity": "false",
}
SANITY = [
    *("--params", str(ROOT / "params.yaml"), "--preset", "sanity", "--set", "runtime.threads=1"),
    *(part for name, value in LENIENT.items() for part in ("--set", f"evaluate.gates.{name}={value}")),
]

pytestmark = [
    pytest.mark.containers,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not IMAGES, reason="ISOFORMER_IMAGES names no images: run .ci/image"),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    docker = pytest.importorskip("docker")
    client = docker.from_env()
    yield client
    client.close()


def pipeline(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [ISOFORMER, "pipeline", "run", *SANITY, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_pipeline_in_containers_makes_what_it_makes_without(tmp_path: Path, raw_inputs: dict[str, Path]) -> None:
    """From raw files to a registered Bento, step by step in the image of each; equal payloads to the last byte."""
    raw = raw_inputs["genome"].parent
    inside = ["--in-containers", "--images", PREFIX, "--tag", TAG]
    done = pipeline("--data", raw, "--out", "in", "--work", "w1", "--registry", "r1", *inside, cwd=tmp_path)
    assert done.returncode == 0, done.stderr + (tmp_path / "in" / "pipeline.log").read_text()[-3000:]
    assert "[5/5] package_model" in done.stderr
    assert "Verdict: BLESSED" in done.stdout
    outside = pipeline("--data", raw, "--out", "out", "--work", "w2", "--registry", "r2", cwd=tmp_path)
    assert outside.returncode == 0, outside.stderr
    for name in ("validation", "transcripts", "model", "evaluation"):
        here, there = (open_artifact(tmp_path / run / name, name) for run in ("out", "in"))
        assert there.digest == here.digest, name
    # The Bento records the packages of its image; its model is the same.
    records = [next((tmp_path / registry).rglob("record.json")) for registry in ("r1", "r2")]
    assert len({json.loads(path.read_text())["model_digest"] for path in records}) == 1
    summary = (tmp_path / "in" / "summary.md").read_text()
    assert "| package_model | 1 | done |" in summary


def test_a_step_that_refuses_its_input_is_seen_to_fail(tmp_path: Path, raw_inputs: dict[str, Path]) -> None:
    """kfp's own reading of a container that ended early is success; ours is not."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for path in raw_inputs.values():
        (raw / path.name).write_bytes(path.read_bytes())
    (raw / raw_inputs["annotation"].name).write_bytes(b"no gzip")
    inside = ["--in-containers", "--images", PREFIX, "--tag", TAG]
    done = pipeline("--data", raw, "--out", "run", *inside, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "annotation.gtf.gz" in done.stderr.splitlines()[-1]
    assert "**Cause:** validate_data: refused" in (tmp_path / "run" / "summary.md").read_text()


def test_an_image_that_is_not_there_is_named(tmp_path: Path, raw_inputs: dict[str, Path]) -> None:
    inside = ["--in-containers", "--images", PREFIX, "--tag", "none-such"]
    done = pipeline("--data", raw_inputs["genome"].parent, "--out", "run", *inside, cwd=tmp_path)
    assert done.returncode == 2
    assert f"{PREFIX}-data:none-such" in done.stderr


@pytest.mark.parametrize("name", ["data", "train", "package", "serve"])
def test_an_image_says_what_it_is_and_what_is_in_it(engine: Any, name: str) -> None:
    image = engine.images.get(f"{PREFIX}-{name}:{TAG}")
    config = image.attrs["Config"]
    assert not config.get("Entrypoint")
    assert config["User"] == "1000:1000"
    labels = config["Labels"]
    assert labels["org.opencontainers.image.revision"] == TAG
    assert labels["org.opencontainers.image.version"] != "unknown"
    text = inside(engine, image, "cat", "/app/bill_of_materials.cdx.json")
    bill = json.loads(text)
    assert bill["metadata"]["component"]["name"] == "isoformer"
    packages = {component["name"] for component in bill["components"]}
    wanted, unwanted = {
        "data": ({"great-expectations", "kfp"}, {"torch", "bentoml"}),
        "train": ({"torch", "kfp"}, {"bentoml", "great-expectations"}),
        "package": ({"torch", "bentoml", "onnxruntime"}, {"great-expectations"}),
        "serve": ({"bentoml", "onnxruntime"}, {"torch", "kfp", "pandas"}),
    }[name]
    assert wanted <= packages
    assert not unwanted & packages


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("data", "components.extract_sequences.step"),
        ("train", "components.evaluate_model.step"),
        ("train", "components.train_on_machines.step"),
        ("package", "components.package_model.step"),
        ("serve", "serving.service"),
    ],
)
def test_an_image_holds_what_its_steps_import(engine: Any, name: str, module: str) -> None:
    image = engine.images.get(f"{PREFIX}-{name}:{TAG}")
    inside(engine, image, "python", "-c", f"import {module}")
    inside(engine, image, "isoformer", "--help")


def test_the_data_image_compiles_what_schedules_submit(engine: Any) -> None:
    """As the Jobs of pipelines/deploy/recurring do."""
    image = engine.images.get(f"{PREFIX}-data:{TAG}")
    command = ["isoformer", "pipeline", "compile", "--pipeline=monitoring", "--out=/tmp/pipeline.yaml"]
    assert "wrote" in inside(engine, image, *command, "--work-claim=isoformer-work")


@pytest.mark.skipif(not BENTO_CONFIGURATION, reason="ISOFORMER_BENTO_CONFIGURATION is not set: docs/known_issues.md")
def test_bentoml_makes_an_image_of_a_packaged_model_that_runs_locked_down(
    tmp_path_factory: Any, tmp_path: Path
) -> None:
    """`bentoml containerize`, then the golden questions: an ordinary user, read-only root, no capabilities."""
    made = packaged(tmp_path_factory.getbasetemp())
    bento = made.out / "payload" / "bento"
    version = json.loads((made.out / "payload" / "bento.json").read_text())["version"]
    store = tmp_path / "bentoml"
    shutil.copytree(bento, store / "bentos" / "isoformer" / version)
    (store / "bentos" / "isoformer" / "latest").write_text(version, encoding="ascii")
    environment = {**bentoml_environment(store), "CONTAINERS_CONF": BENTO_CONFIGURATION}
    image = f"localhost/isoformer-bento:{version}"
    command = ["-m", "bentoml", "containerize", f"isoformer:{version}", "--backend", "podman", "-t", image]
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    name = f"isoformer-bento-{os.getpid()}"
    locked = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt", "no-new-privileges"]
    settings = [f"BENTOML_PORT={port}", "BENTOML_HOST=127.0.0.1", "BENTOML_HOME=/tmp/bentoml"]
    variables = [part for setting in settings for part in ("--env", setting)]
    run = ["podman", "run", "--detach", "--name", name, "--network", "host", *locked, *variables, image]
    try:
        subprocess.run(run, check=True, capture_output=True)
        client = Client(f"http://127.0.0.1:{port}")
        client.wait_ready(120)
        entries = json.loads((bento / "src" / "package" / "golden.json").read_text())["entries"]
        assert ask(client.url, entries) <= 1e-4
        user = subprocess.run(["podman", "exec", name, "id", "-u"], capture_output=True, text=True, check=True)
        assert int(user.stdout) > 0
    finally:
        subprocess.run(["podman", "rm", "--force", name], capture_output=True, check=False)
        subprocess.run(["podman", "rmi", "--force", image], capture_output=True, check=False)


def test_podman_plays_the_deployment(tmp_path_factory: Any) -> None:
    """`podman kube play` of the serving manifest: a version from a registry, an ordinary user, a read-only root."""
    # A folder that the image's user may read; pytest's own are private.
    with tempfile.TemporaryDirectory(prefix="isoformer-played-") as name:
        folder = Path(name)
        made = packaged(tmp_path_factory.getbasetemp())
        shutil.copytree(made.registry, folder / "registry")
        subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        manifest = folder / "deployment.yaml"
        manifest.write_text(yaml.safe_dump(playable(folder / "registry", port)), encoding="utf-8")
        try:
            played = ["podman", "kube", "play", "--network", "host", str(manifest)]
            done = subprocess.run(played, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            client = Client(f"http://127.0.0.1:{port}")
            client.wait_ready(60)
            items = [{"rna": "ACGTACGTAA", "protein": "MKV"}]
            assert len(client.predict(items)["items"]) == 1
        finally:
            subprocess.run(["podman", "kube", "down", str(manifest)], capture_output=True, check=False)


def playable(registry: Path, port: int) -> dict[str, Any]:
    """The deployment as it is, but for what one machine has not: an object store, several nodes, a registry of images.

    Podman asks probes with curl, which the image does not hold; the test asks in their place.
    """
    path = ROOT / "pipelines" / "deploy" / "serving" / "deployment.yaml"
    deployment = yaml.safe_load(path.read_text(encoding="utf-8"))
    deployment["spec"]["replicas"] = 1
    pod = deployment["spec"]["template"]["spec"]
    del pod["topologySpreadConstraints"]
    (container,) = pod["containers"]
    # No ports: it is on the host's network.
    for what in ("startupProbe", "readinessProbe", "livenessProbe", "lifecycle", "ports"):
        del container[what]
    # podman 4.3 reads no variables from secrets; the key of an object store is of no use here anyway.
    container["env"] = [item for item in container["env"] if "valueFrom" not in item]
    # Nor does it undo the base64 of those that it mounts: no keys, then.
    pod["volumes"] = [item for item in pod["volumes"] if "secret" not in item]
    container["volumeMounts"] = [item for item in container["volumeMounts"] if item["name"] != "keys"]
    container["args"] = [item for item in container["args"] if not item.startswith(("--public-key=", "--api-keys="))]
    container["image"] = f"{PREFIX}-serve:{TAG}"
    changed = {"--registry=s3://models/isoformer": "--registry=/registry", "--port=3000": f"--port={port}"}
    assert changed.keys() <= set(container["args"])
    container["args"] = [changed.get(argument, argument) for argument in container["args"]]
    container["volumeMounts"].append({"name": "registry", "mountPath": "/registry", "readOnly": True})
    pod["volumes"].append({"name": "registry", "hostPath": {"path": str(registry), "type": "Directory"}})

    return deployment


def inside(engine: Any, image: Any, *command: str) -> str:
    """Run a command in an image as a cluster would: without a network, read-only, without capabilities."""
    settings = {"network_mode": "none", "read_only": True, "cap_drop": ["ALL"], "tmpfs": {"/tmp": "mode=1777"}}
    container = engine.containers.run(image, list(command), detach=True, **settings)
    try:
        status = container.wait()["StatusCode"]
        text = container.logs(stdout=True, stderr=False).decode()
        assert status == 0, container.logs().decode()[-2000:]
        return text
    finally:
        container.remove(force=True)
