"""The manifests are what Kubernetes 1.36 and the Kubeflow Trainer take: fields known, containers locked down."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipelines.kfp_server import TOKEN, kubeflow

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "pipelines" / "deploy"
KUBERNETES = "1.36"
FILES = sorted(path for path in DEPLOY.rglob("*.yaml") if path.name != "kustomization.yaml")
FOLDERS = sorted(path.parent for path in DEPLOY.rglob("kustomization.yaml"))
OVERLAYS = sorted(path.parent for path in (DEPLOY / "overlays").glob("*/kustomization.yaml"))
KUBECTL = shutil.which("kubectl") or str(ROOT / ".venv" / "bin" / "kubectl")
needs_kubectl = pytest.mark.skipif(
    not Path(KUBECTL).exists(), reason="no kubectl here: the overlays are NOT rendered (.ci/kubectl fetches one)"
)


def documents(text: str) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all(text) if item]


def check(document: dict[str, Any]) -> None:
    """Strictly: a field that nobody knows is an error, as is a missing or misshapen one."""
    group = document["apiVersion"].partition("/")[0]
    if group == "trainer.kubeflow.org":
        model = getattr(importlib.import_module("kubeflow_trainer_api.models"), f"TrainerV1alpha1{document['kind']}")
        # The models drop what they do not know, so what comes back must be what went in.
        assert model.from_dict(document).to_dict() == document
    else:
        import kubernetes_validate

        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def pod_specs(document: Any) -> Iterator[dict[str, Any]]:
    if isinstance(document, dict):
        if "containers" in document:
            yield document
        for value in document.values():
            yield from pod_specs(value)
    elif isinstance(document, list):
        for value in document:
            yield from pod_specs(value)


def rendered(overlay: Path) -> list[dict[str, Any]]:
    done = subprocess.run([KUBECTL, "kustomize", str(overlay)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(DEPLOY).as_posix())
def test_each_manifest_is_valid(path: Path) -> None:
    found = documents(path.read_text(encoding="utf-8"))
    assert found
    for document in found:
        check(document)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(DEPLOY).as_posix())
def test_each_pod_meets_the_restricted_standard(path: Path) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and a read-only root."""
    for document in documents(path.read_text(encoding="utf-8")):
        for pod in pod_specs(document):
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
            assert not pod.get("hostNetwork")
            for container in (*pod["containers"], *pod.get("initContainers", ())):
                context = container["securityContext"]
                assert context["allowPrivilegeEscalation"] is False
                assert context["readOnlyRootFilesystem"] is True
                assert context["capabilities"]["drop"] == ["ALL"]


def test_no_manifest_holds_a_secret() -> None:
    for path in FILES:
        for document in documents(path.read_text(encoding="utf-8")):
            if document["kind"] == "Secret":
                values = {**document.get("data", {}), **document.get("stringData", {})}
                assert not any(values.values()), path
                assert "example" in path.name


@needs_kubectl
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_each_folder_renders_to_valid_manifests(folder: Path) -> None:
    for document in rendered(folder):
        check(document)
        assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "isoformer"
        assert document["kind"] == "Namespace" or document["metadata"]["namespace"]


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_each_overlay_holds_what_pipelines_and_endpoint_need(overlay: Path) -> None:
    kinds = {document["kind"] for document in rendered(overlay)}
    pipelines = {"Namespace", "ServiceAccount", "Role", "PersistentVolumeClaim", "NetworkPolicy", "TrainingRuntime"}
    endpoint = {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"}
    assert pipelines | endpoint <= kinds


@needs_kubectl
@pytest.mark.parametrize("overlay", [*OVERLAYS, DEPLOY / "recurring"], ids=lambda path: path.name)
def test_what_an_overlay_refers_to_is_in_it(overlay: Path) -> None:
    """Claims, accounts and configurations that pods name exist under that name, in that namespace."""
    found = rendered(overlay)
    have = {
        (document["kind"], document["metadata"].get("namespace"), document["metadata"]["name"]) for document in found
    }
    for document in found:
        space = document["metadata"].get("namespace")
        for pod in pod_specs(document):
            account = pod.get("serviceAccountName")
            if account:
                assert ("ServiceAccount", space, account) in have
            for volume in pod.get("volumes", ()):
                if claim := volume.get("persistentVolumeClaim"):
                    assert ("PersistentVolumeClaim", space, claim["claimName"]) in have
                if config := volume.get("configMap"):
                    assert ("ConfigMap", space, config["name"]) in have
            for container in (*pod["containers"], *pod.get("initContainers", ())):
                for source in container.get("envFrom", ()):
                    assert ("ConfigMap", space, source["configMapRef"]["name"]) in have


@pytest.mark.parametrize("name", ["monitoring", "prediction"])
def test_a_schedule_gives_the_command_line_what_it_asks_for(name: str, tmp_path: Path) -> None:
    """Both commands of the manifest, with the settings beside it, as Kubernetes would fill them in."""
    folder = DEPLOY / "recurring"
    settings = documents((folder / "settings.yaml").read_text())[0]["data"] | {"NAMESPACE": "isoformer"}
    pod = documents((folder / f"{name}.yaml").read_text())[0]["spec"]["template"]["spec"]

    def filled(container: dict[str, Any]) -> list[str]:
        program, *arguments = (
            re.sub(r"\$\((\w+)\)", lambda match: settings[match[1]], argument) for argument in container["args"]
        )
        assert program == "isoformer"
        command = [str(Path(sys.executable).parent / program), *arguments]
        return [argument.replace("/package", str(tmp_path)) for argument in command]

    subprocess.run(filled(pod["initContainers"][0]), check=True, cwd=tmp_path)
    with kubeflow() as server:
        settings["KF_PIPELINES_ENDPOINT"] = server.address
        # The projected token, at the place that the manifest names; the server answers nobody without it.
        (variable,) = [item for item in pod["containers"][0]["env"] if item["name"] == "KF_PIPELINES_SA_TOKEN_PATH"]
        mounts = {item["name"]: item["mountPath"] for item in pod["containers"][0]["volumeMounts"]}
        assert Path(variable["value"]).parent == Path(mounts["token"])
        (tmp_path / "token").write_text(TOKEN)
        environment = {**os.environ, **settings, variable["name"]: str(tmp_path / "token")}
        environment.pop("KFP_TOKEN", None)
        subprocess.run(filled(pod["containers"][0]), check=True, cwd=tmp_path, env=environment)
        (recurring,) = server.recurring.values()
    assert recurring["display_name"] == f"isoformer-{name}"
    assert recurring["runtime_config"]["parameters"]["data_uri"] == settings["DATA_URI"]
    assert recurring["trigger"]["cron_schedule"]["cron"] == settings[f"{name.upper()}_CRON"]
    assert recurring["service_account"] == "isoformer-pipeline"


def test_a_wrong_field_would_be_found() -> None:
    """The checks can fail: a misspelt field, in Kubernetes' own kinds and in the Trainer's."""
    import kubernetes_validate

    claim = documents((DEPLOY / "pipelines" / "work_claim.yaml").read_text())[0]
    claim["spec"]["acessModes"] = claim["spec"].pop("accessModes")
    with pytest.raises(kubernetes_validate.ValidationError):
        check(claim)
    runtime = documents((DEPLOY / "pipelines" / "training_runtime.yaml").read_text())[0]
    runtime["spec"]["mlPolicy"]["numNode"] = 2
    with pytest.raises(AssertionError):
        check(runtime)


def test_the_account_of_steps_may_do_nothing_to_everything() -> None:
    role = next(
        item
        for item in documents((DEPLOY / "pipelines" / "service_account.yaml").read_text())
        if item["kind"] == "Role"
    )
    for rule in role["rules"]:
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
        if "secrets" in rule["resources"]:
            assert rule["resourceNames"]
            assert rule["verbs"] == ["get"]


def test_commands_in_comments_name_files_that_exist() -> None:
    for path in DEPLOY.rglob("*.yaml"):
        for name in re.findall(r"pipelines/deploy/[\w./-]+\.yaml", path.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{path}: {name}"
