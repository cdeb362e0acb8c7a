"""The manifests of the endpoint are valid, locked down, and agree with each other and with the command line."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipelines.commands.serve import serve

DEPLOY = Path(__file__).parents[2] / "pipelines" / "deploy" / "serving"
KUBERNETES = "1.36"
DOCUMENTS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted(DEPLOY.glob("*.yaml"))
    if path.name != "kustomization.yaml"
}


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = DOCUMENTS["deployment"]["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_manifest_is_valid(name: str) -> None:
    kubernetes_validate.validate(DOCUMENTS[name], KUBERNETES, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    service = yaml.safe_load((DEPLOY / "service.yaml").read_text())
    service["spec"]["slector"] = service["spec"].pop("selector")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, KUBERNETES, strict=True)


def test_everything_is_listed_and_in_one_restricted_namespace() -> None:
    listed = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())
    assert {Path(name).stem for name in listed["resources"]} == set(DOCUMENTS)
    namespace = DOCUMENTS["namespace"]["metadata"]
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    others = [item["metadata"]["namespace"] for name, item in DOCUMENTS.items() if name != "namespace"]
    assert set(others) == {namespace["name"]} == {listed["namespace"]}
    kinds = {item["kind"] for item in DOCUMENTS.values()}
    assert {"Deployment", "Service", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget"} <= kinds


def test_the_pod_meets_the_restricted_standard_with_a_read_only_root() -> None:
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert pod()["automountServiceAccountToken"] is False
    (container,) = pod()["containers"]
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"]["drop"] == ["ALL"]
    assert not container["image"].endswith(":latest")


def test_selectors_ports_and_volumes_agree() -> None:
    labels = DOCUMENTS["deployment"]["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        DOCUMENTS["deployment"]["spec"]["selector"]["matchLabels"],
        DOCUMENTS["service"]["spec"]["selector"],
        DOCUMENTS["disruption_budget"]["spec"]["selector"]["matchLabels"],
        DOCUMENTS["network_policy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels for selector in selectors)
    (container,) = pod()["containers"]
    (port,) = container["ports"]
    assert DOCUMENTS["service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert DOCUMENTS["network_policy"]["spec"]["ingress"][0]["ports"][0]["port"] == port["containerPort"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod()["volumes"]}
    assert DOCUMENTS["autoscaler"]["spec"]["scaleTargetRef"]["name"] == DOCUMENTS["deployment"]["metadata"]["name"]


def test_the_command_is_one_that_the_command_line_takes() -> None:
    program, command, *options = pod()["containers"][0]["args"]
    assert (program, command) == ("isoformer", "serve")
    known = {"--" + name.replace("_", "-") for name in inspect.signature(serve).parameters}
    assert {option.partition("=")[0] for option in options} <= known
