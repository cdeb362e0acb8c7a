"""What a TrainJob needs of the Kubernetes API: create, watch and delete it, and read the logs of its pods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.harness import UnavailableError
from model.errors import InputError

GROUP, VERSION = "trainer.kubeflow.org", "v1alpha1"
JOBS, RUNTIMES = "trainjobs", "trainingruntimes"
# JobSet, which the Trainer makes of a job, gives its pods this label and the job's name.
JOB_LABEL = "jobset.sigs.k8s.io/jobset-name"
CONNECT_S, READ_S = 10, 60


# Where Kubernetes tells a pod which namespace it runs in.
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def own_namespace() -> str:
    """The namespace of this pod; raises `InputError` outside of one."""
    try:
        return _NAMESPACE_FILE.read_text(encoding="ascii").strip()
    except OSError as error:
        raise InputError(
            where=str(_NAMESPACE_FILE),
            expected="a pod with a service account",
            found=error.strerror or str(error),
            fix="Run the step in a pod whose token is mounted, or use `isoformer train-job --submit --follow`.",
        ) from None


class TrainerApi:
    """TrainJobs, TrainingRuntimes and pods of one namespace, as plain JSON data.

    Every method raises `InputError` where the cluster refuses what is asked (no rights, no Trainer, a manifest that it
    does not take), and `UnavailableError` where it does not answer.
    """

    def __init__(self, client: Any, namespace: str) -> None:
        """`client`: a `kubernetes.client.ApiClient`."""
        from kubernetes.client import CoreV1Api, CustomObjectsApi  # type: ignore[import-untyped]

        self.namespace = namespace
        self._client = client
        self._objects, self._core = CustomObjectsApi(client), CoreV1Api(client)
        self._place: dict[str, Any] = {"group": GROUP, "version": VERSION, "namespace": namespace}

    @classmethod
    def connect(cls, namespace: str) -> TrainerApi:
        """Of the cluster that this pod runs in, else of the current context of kubectl's configuration."""
        from kubernetes import client, config  # type: ignore[import-untyped]

        settings = client.Configuration()
        try:
            try:
                config.load_incluster_config(client_configuration=settings)
            except config.ConfigException:
                config.load_kube_config(client_configuration=settings)
        except (config.ConfigException, OSError) as error:
            raise InputError(
                where="Kubernetes",
                expected="a service account of a pod, or kubectl's configuration (KUBECONFIG)",
                found=str(error),
                fix="Run in a pod with a service account, or `kubectl config use-context` a cluster.",
            ) from None
        return cls(client.ApiClient(settings), namespace)

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """The object, None where there is none."""
        with _told(f"read {kind}/{name}"):
            try:
                return dict(self._objects.get_namespaced_custom_object(**self._place, plural=kind, name=name))
            except _api_error() as error:
                if error.status == 404 and _names_an_object(error):
                    return None
                raise

    def create(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create an object; returns it as the cluster completed it."""
        with _told(f"create {kind}/{body['metadata']['name']}"):
            return dict(self._objects.create_namespaced_custom_object(**self._place, plural=kind, body=body))

    def patch(self, kind: str, name: str, change: dict[str, Any]) -> None:
        """Merge `change` into an object."""
        with _told(f"change {kind}/{name}"):
            self._objects.patch_namespaced_custom_object(**self._place, plural=kind, name=name, body=change)

    def delete(self, kind: str, name: str) -> None:
        """Delete an object, and what it owns before it; that there is none is no error."""
        with _told(f"delete {kind}/{name}"):
            try:
                self._objects.delete_namespaced_custom_object(
                    **self._place, plural=kind, name=name, propagation_policy="Foreground"
                )
            except _api_error() as error:
                if error.status != 404:
                    raise

    def watch(self, kind: str, name: str, *, seconds: int) -> Iterator[dict[str, Any] | None]:
        """The object now and after each change for so many seconds; None when it is deleted."""
        from kubernetes.watch import Watch  # type: ignore[import-untyped]

        with _told(f"watch {kind}/{name}"):
            events = Watch().stream(
                self._objects.list_namespaced_custom_object,
                **self._place,
                plural=kind,
                field_selector=f"metadata.name={name}",
                timeout_seconds=seconds,
                _request_timeout=(CONNECT_S, READ_S),
            )
            for event in events:
                yield None if event["type"] == "DELETED" else dict(event["object"])

    def pods(self, job: str) -> list[dict[str, Any]]:
        """Its pods, by name."""
        with _told(f"list pods of {job}"):
            found = self._core.list_namespaced_pod(
                self.namespace, label_selector=f"{JOB_LABEL}={job}", _request_timeout=(CONNECT_S, READ_S)
            )
            pods = self._client.sanitize_for_serialization(found)["items"]
        return sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))

    def log_lines(self, pod: str, container: str, *, since_s: int | None = None) -> Iterator[str]:
        """Lines of a container's log with their timestamps, as they are written, until it ends."""
        with _told(f"read the log of {pod}"):
            more = {} if since_s is None else {"since_seconds": since_s}
            response = self._core.read_namespaced_pod_log(
                pod, self.namespace, container=container, follow=True, timestamps=True, _preload_content=False, **more
            )
            rest = b""
            try:
                for chunk in response.stream(decode_content=True):
                    *lines, rest = (rest + chunk).split(b"\n")
                    yield from (line.decode("utf-8", errors="replace") for line in lines)
            finally:
                response.close()
            if rest:
                yield rest.decode("utf-8", errors="replace")


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Say what of the cluster's answers a person can mend, and what is worth another try."""
    from urllib3.exceptions import HTTPError

    try:
        yield
    except _api_error() as error:
        reason = _message(error)
        if error.status >= 500 or error.status in (408, 410, 429):
            raise UnavailableError(f"Kubernetes could not {what}: {error.status} {reason}") from None
        fixes = {
            401: "Log in to the cluster anew.",
            403: "Give the account this right: pipelines/deploy has a role for it.",
            404: "Install Kubeflow Trainer v2 (its TrainJob API is missing), or correct --namespace.",
            409: "Delete the object of this name, or choose another --name.",
        }
        raise InputError(
            where="Kubernetes",
            expected=f"to {what}",
            found=f"{error.status} {reason}",
            fix=fixes.get(error.status, "Correct what the message names."),
        ) from None
    except (HTTPError, OSError) as error:
        raise UnavailableError(f"Kubernetes did not answer when asked to {what}: {error}") from None


def _api_error() -> Any:
    from kubernetes.client import ApiException

    return ApiException


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def _names_an_object(error: Any) -> bool:
    """Whether a 404 is about one object: without the Trainer installed the cluster does not know the path at all."""
    try:
        return bool(json.loads(error.body)["details"]["name"])
    except (TypeError, ValueError, KeyError):
        return False
