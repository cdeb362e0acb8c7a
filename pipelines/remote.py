"""Runs on a Kubeflow Pipelines installation: submit one, schedule one, see how one stands."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.harness import UnavailableError
from model.errors import InputError

TOKEN_VARIABLE = "KFP_TOKEN"  # noqa: S105 the name of a variable
HOST_VARIABLE = "KF_PIPELINES_ENDPOINT"
# Where a pod finds its projected token for the Kubeflow API.
POD_TOKEN_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"  # noqa: S105
POD_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105
FINAL_STATES = frozenset({"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"})
# kfp's own driver and group tasks say nothing of use to people.
_HIDDEN_SUFFIX = "-driver"
_REQUEST_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of a run as Kubeflow sees it: its name, state and error message."""

    name: str
    state: str
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """A run as Kubeflow sees it; `state` in upper case, such as RUNNING or SUCCEEDED."""

    run_id: str
    name: str
    state: str
    error: str
    tasks: tuple[Task, ...]
    link: str

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in FINAL_STATES


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where Kubeflow Pipelines answers and how to be let in.

    `token_file` holds a bearer token and is read again when it expires; without it, `KFP_TOKEN` is used; in a pod,
    the projected service account token. `ca_file` is a bundle of certificates to trust.
    """

    host: str
    namespace: str = ""
    token_file: Path | None = None
    ca_file: Path | None = None


class Remote:
    """A Kubeflow Pipelines installation."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Connect; raises `InputError` where address or token are unusable, `UnavailableError` where none answers."""
        if not endpoint.host.startswith(("http://", "https://")):
            raise InputError(
                where="--host",
                expected="an address such as https://kubeflow.example/pipeline",
                found=endpoint.host or "nothing",
                fix=f"Give --host, or set {HOST_VARIABLE}.",
            )
        self._endpoint = endpoint
        with _quiet(), _told(endpoint.host):
            self._client = _client(endpoint)

    def submit(
        self, package: Path, *, name: str, experiment: str, arguments: Mapping[str, Any], service_account: str = ""
    ) -> str:
        """Start a run of the compiled `package`; returns its id."""
        with _quiet(), _told(self._endpoint.host):
            run = self._client.run_pipeline(
                self._experiment(experiment),
                name,
                str(package),
                params=dict(arguments),
                service_account=service_account or None,
            )
        return str(run.run_id)

    def schedule(
        self,
        package: Path,
        *,
        name: str,
        experiment: str,
        arguments: Mapping[str, Any],
        cron: str,
        service_account: str = "",
    ) -> str:
        """Run the compiled `package` at each time of `cron` (six fields, seconds first); returns the schedule's id.

        It takes the place of an earlier schedule of the same name in the experiment.
        """
        if len(cron.split()) != 6:
            raise InputError(
                where="--cron",
                expected="six fields: second minute hour day month weekday",
                found=cron,
                fix="For Mondays at 3:00, write '0 0 3 * * 1'.",
            )
        with _quiet(), _told(self._endpoint.host):
            place = self._experiment(experiment)
            earlier = [item.recurring_run_id for item in self._schedules(place) if item.display_name == name]
            recurring = self._client.create_recurring_run(
                place,
                name,
                cron_expression=cron,
                # A run that takes longer than its period delays the next; missed ones are not made up for.
                max_concurrency=1,
                no_catchup=True,
                params=dict(arguments),
                pipeline_package_path=str(package),
                service_account=service_account or None,
            )
            # Only now: a package that is refused leaves the old one at work.
            for identifier in earlier:
                self._client.delete_recurring_run(identifier)
        if earlier:
            print(f"schedule {name} replaced the one of that name ({', '.join(earlier)})", file=sys.stderr)
        return str(recurring.recurring_run_id)

    def _schedules(self, experiment: str) -> Iterator[Any]:
        """All schedules of an experiment."""
        token = ""
        while True:
            page = self._client.list_recurring_runs(page_token=token, page_size=100, experiment_id=experiment)
            yield from page.recurring_runs or ()
            token = page.next_page_token
            if not token:
                return

    def state(self, run_id: str) -> RunState:
        """How a run stands."""
        with _quiet(), _told(self._endpoint.host):
            run = self._client.get_run(run_id)
        tasks = (run.run_details.task_details if run.run_details else None) or []
        shown = [_task(item) for item in sorted(tasks, key=_order) if not _hidden(item)]
        return RunState(
            run_id=run.run_id,
            name=run.display_name,
            state=_state(run.state),
            error=_message(run.error),
            tasks=tuple(shown),
            link=f"{self._endpoint.host.rstrip('/')}/#/runs/details/{run.run_id}",
        )

    def follow(self, run_id: str, *, every_s: float = 10.0) -> RunState:
        """Tell of each change of state of a run and of its tasks on standard error until it has ended."""
        told: dict[str, str] = {}
        while True:
            now = self.state(run_id)
            for task in now.tasks:
                if told.get(task.name) != task.state:
                    told[task.name] = task.state
                    print(f"{task.name}: {task.state.lower()} {task.error}".rstrip(), file=sys.stderr, flush=True)
            if now.ended:
                return now
            time.sleep(every_s)

    def _experiment(self, name: str) -> str:
        namespace = self._endpoint.namespace or None
        return str(self._client.create_experiment(name, namespace=namespace).experiment_id)


def _client(endpoint: Endpoint) -> Any:
    from kfp import Client
    from kfp.client import ServiceAccountTokenVolumeCredentials

    where: dict[str, Any] = {"host": endpoint.host.rstrip("/")}
    if endpoint.ca_file is not None:
        where["ssl_ca_cert"] = str(_existing(endpoint.ca_file, "--ca-file"))
    if endpoint.token_file is not None:
        path = str(_existing(endpoint.token_file, "--token-file"))
        where["credentials"] = ServiceAccountTokenVolumeCredentials(path)
    elif os.environ.get(TOKEN_VARIABLE):
        where["existing_token"] = os.environ[TOKEN_VARIABLE]
    elif POD_TOKEN_VARIABLE in os.environ or Path(POD_TOKEN).exists():
        # kfp itself looks for it only where no host is given.
        where["credentials"] = ServiceAccountTokenVolumeCredentials(os.environ.get(POD_TOKEN_VARIABLE) or POD_TOKEN)
    if endpoint.namespace:
        where["namespace"] = endpoint.namespace

    class OnceClient(Client):
        """Asks whether there are users once; the original asks five times over 25 seconds, with a traceback each."""

        def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
            return self._healthz_api.healthz_service_get_healthz()

    client = OnceClient(**where)
    # Without an answer the generated client would wait for ever.
    for name in ("_run_api", "_recurring_run_api", "_experiment_api"):
        rest = getattr(client, name).api_client.rest_client
        rest.pool_manager.connection_pool_kw["timeout"] = _REQUEST_TIMEOUT_S
        rest.pool_manager.connection_pool_kw["retries"] = 2
    return client


def _existing(path: Path, option: str) -> Path:
    if not path.is_file():
        raise InputError(where=option, expected="an existing file", found=str(path), fix="Check the path.")
    return path


def _order(item: Any) -> tuple[bool, Any, str]:
    began = item.start_time or item.create_time
    return (began is None, began or 0, item.display_name or "")


def _hidden(item: Any) -> bool:
    name = item.display_name or ""
    return not name or name == "root" or name.endswith(_HIDDEN_SUFFIX)


def _task(item: Any) -> Task:
    return Task(name=item.display_name, state=_state(item.state), error=_message(item.error))


def _state(value: Any) -> str:
    return str(getattr(value, "value", value) or "PENDING").upper()


def _message(error: Any) -> str:
    return str(error.message or "") if error is not None else ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The client prints links of its own and warns of old servers; we say what happened once, in our words."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _told(host: str) -> Iterator[None]:
    """Turn the client's errors into one line."""
    import urllib3
    from kfp_server_api import ApiException

    try:
        yield
    except ApiException as error:
        raise UnavailableError(f"{host} answered {error.status} {error.reason}: {_reason(error.body)}") from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnavailableError(f"{host} cannot be reached: {error}") from None


def _reason(body: str | bytes | None) -> str:
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "no reason given")
    with contextlib.suppress(ValueError, AttributeError):
        return str(json.loads(text).get("message", text))
    return " ".join(text.split())[:500]
