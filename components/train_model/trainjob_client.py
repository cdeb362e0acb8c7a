"""Runs a TrainJob from here to its end: creates it, tells its logs as they are written, ends as it ends.

::

    running → Complete   returns; the job is deleted, what it wrote stays on the claim
            → Failed     raises what the machines said; the job stays, for people to look at
            → SIGTERM    deletes the job, whose machines then write their checkpoints; raises StepStoppedError

A job of the same name and manifest that runs already is followed, not started twice: whoever followed it may have died.
"""

from __future__ import annotations

import hashlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from components.artifacts import canonical_json
from components.harness import StepRefusedError, StepStoppedError, UnavailableError
from components.train_model.job_logs import JobLogs, container_state, machine_of
from components.train_model.kubernetes_api import GROUP, JOBS, RUNTIMES, VERSION, TrainerApi
from components.train_model.trainjob import EXIT_BAD_INPUT, NODE, TrainJobRequest, train_job
from model.errors import InputError

# Of the manifests: by it a job is known again.
DIGEST = "isoformer/manifest-digest"
KINDS = {"TrainJob": JOBS, "TrainingRuntime": RUNTIMES}
LOOK_EVERY_S = 5
RETRY_S = 2.0
DELETION_TRIES = 3
# So long may the cluster's API be away, while the job goes on by itself.
API_PATIENCE_S = 600.0
DRAIN_S = 20.0
DELETION_S = 600.0


class _Cancelled(BaseException):
    """SIGTERM or Ctrl-C; no handler of errors on the way may take it for one."""


def run_train_job(request: TrainJobRequest, api: TrainerApi, say: Callable[[str], None] | None = None) -> None:
    """Create the job of a request, follow it to its end, and clean up; `say` gets lines for people.

    Raises `InputError` for what the cluster does not take, `StepRefusedError` where the machines refused their input,
    `RuntimeError` where they failed, `StepStoppedError` after SIGTERM, `UnavailableError` where the cluster did not
    answer for too long: the job then goes on, and the same call follows it again.
    """
    say = say or _to_standard_error
    with _cancelled_by_signals():
        try:
            submit(request, api, say)
            follow(request, api, say)
        except _Cancelled:
            with _undisturbed():
                _clean_up(request, api, say)
            raise StepStoppedError(
                f"TrainJob {request.name} was deleted; its checkpoints are in {request.work}. "
                "The same command goes on from there."
            ) from None
        _clean_up(request, api, say)


def submit(request: TrainJobRequest, api: TrainerApi, say: Callable[[str], None]) -> None:
    """Create the job, and its runtime if it has its own; a job of an equal request that runs is left to run."""
    manifests, digest = _marked(request)
    there = api.find(JOBS, request.name)
    if there is not None and ended(there) is None and "deletionTimestamp" not in there["metadata"]:
        if _digest_of(there) == digest:
            say(f"TrainJob {request.name} is running already: following it")
            return
        raise InputError(
            where=f"TrainJob {request.name}",
            expected="no job of this name, or one of the same parameters",
            found="one of others, still running",
            fix=f"Choose another --name, or `kubectl delete trainjob {request.name} -n {request.namespace}`.",
        )
    for manifest in reversed(manifests):
        _remove_earlier(KINDS[manifest["kind"]], request.name, api)
    created = [api.create(KINDS[manifest["kind"]], manifest) for manifest in manifests][-1]
    if request.runtime is None:
        owner = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "TrainJob"}
        owner |= {key: created["metadata"][key] for key in ("name", "uid")}
        # Whoever deletes the job deletes its runtime.
        api.patch(RUNTIMES, request.name, {"metadata": {"ownerReferences": [owner]}})
    say(f"TrainJob {request.name} created: {request.nodes} machine(s) × {request.processes_per_node} process(es)")


def follow(request: TrainJobRequest, api: TrainerApi, say: Callable[[str], None]) -> None:
    """Tell logs and changes until the job ends; raises where it failed or was deleted by others."""
    name, logs = request.name, JobLogs(api, NODE, say)
    told, answered = "", time.monotonic()
    while True:
        try:
            seen = False
            for job in api.watch(JOBS, name, seconds=LOOK_EVERY_S):
                seen, answered = True, time.monotonic()
                if job is None or "deletionTimestamp" in job["metadata"]:
                    raise RuntimeError(f"TrainJob {name} was deleted by someone else")
                pods = api.pods(name)
                logs.follow(pods)
                if (now := _summary(pods)) != told:
                    say(f"TrainJob {name}: {now}")
                    told = now
                if (condition := ended(job)) is not None:
                    logs.drain(DRAIN_S)
                    _judge(name, condition, pods, logs)
                    return
            if not seen and api.find(JOBS, name) is None:
                raise RuntimeError(f"TrainJob {name} was deleted by someone else")
        except UnavailableError as error:
            if time.monotonic() - answered > API_PATIENCE_S:
                raise
            say(f"{error}; trying again")
            time.sleep(RETRY_S)


def ended(job: Mapping[str, Any]) -> dict[str, Any] | None:
    """The condition that says that a job is over, None while it is not."""
    for condition in job.get("status", {}).get("conditions") or ():
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return dict(condition)
    return None


def _judge(name: str, condition: Mapping[str, Any], pods: list[dict[str, Any]], logs: JobLogs) -> None:
    """Raise what a failed job came to."""
    if condition["type"] == "Complete":
        return
    exits = []
    for pod in pods:
        terminated = container_state(pod, NODE).get("terminated", {})
        code = terminated.get("exitCode", 0)
        lines = list(logs.last_lines.get(pod["metadata"]["name"], ()))
        if code == EXIT_BAD_INPUT:
            refusal = next((line for line in reversed(lines) if line.startswith("isoformer: ")), "bad input")
            raise StepRefusedError(refusal.removeprefix("isoformer: "))
        if code:
            last = f", its last line: {lines[-1]}" if lines else ""
            exits.append(f"{machine_of(pod)} ended with status {code} ({terminated.get('reason', 'Error')}){last}")
    reason = f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")
    told = "; ".join(exits) or "no pod is left to tell why"
    raise RuntimeError(f"TrainJob {name} failed ({reason}). {told}")


def _summary(pods: list[dict[str, Any]]) -> str:
    """How the pods stand, and why those that wait do."""
    phases: dict[str, int] = {}
    waiting = set()
    for pod in pods:
        status = pod.get("status", {})
        phase = str(status.get("phase", "Pending")).lower()
        phases[phase] = phases.get(phase, 0) + 1
        for condition in status.get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                waiting.add(str(condition.get("message", "not scheduled")))
        if reason := container_state(pod, NODE).get("waiting", {}).get("reason"):
            waiting.add(str(reason))
    counts = ", ".join(f"{count} {phase}" for phase, count in sorted(phases.items())) or "no pods yet"
    return counts + (f" ({'; '.join(sorted(waiting))})" if waiting else "")


def _marked(request: TrainJobRequest) -> tuple[list[dict[str, Any]], str]:
    """The manifests, each with their common digest as an annotation."""
    manifests = train_job(request)
    digest = hashlib.sha256(canonical_json(manifests).encode()).hexdigest()[:16]
    for manifest in manifests:
        manifest["metadata"]["annotations"] = {DIGEST: digest}
    return manifests, digest


def _digest_of(found: Mapping[str, Any]) -> str | None:
    digest: str | None = found["metadata"].get("annotations", {}).get(DIGEST)
    return digest


def _clean_up(request: TrainJobRequest, api: TrainerApi, say: Callable[[str], None]) -> None:
    """Delete what a request made, the job first: its pods are asked to stop with it. Nobody else's is touched."""
    manifests, digest = _marked(request)
    for manifest in reversed(manifests):
        kind = KINDS[manifest["kind"]]
        for left in reversed(range(DELETION_TRIES)):
            try:
                there = api.find(kind, request.name)
                if there is not None and _digest_of(there) == digest:
                    api.delete(kind, request.name)
                break
            except (UnavailableError, InputError) as error:
                if not left:
                    say(f"{error}. Delete it by hand: kubectl delete {kind} {request.name} -n {request.namespace}")
                time.sleep(RETRY_S)


def _remove_earlier(kind: str, name: str, api: TrainerApi) -> None:
    """Delete what an earlier try left, and wait until it is gone; raises where it was made by others."""
    there = api.find(kind, name)
    if there is None:
        return
    if _digest_of(there) is None:
        raise InputError(
            where=f"{kind}/{name}",
            expected="no object of this name, or one that an earlier try made",
            found="one that was made by others",
            fix="Choose another --name; an existing TrainingRuntime is used with --runtime.",
        )
    api.delete(kind, name)
    deadline = time.monotonic() + DELETION_S
    while api.find(kind, name) is not None:
        if time.monotonic() > deadline:
            raise UnavailableError(f"{kind}/{name} was deleted, and is still there after {DELETION_S:.0f} s")
        time.sleep(1)


def _to_standard_error(line: str) -> None:
    # In one piece: several threads tell lines.
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


@contextmanager
def _cancelled_by_signals() -> Iterator[None]:
    """Raise `_Cancelled` at SIGTERM or Ctrl-C; only the main thread can."""

    def cancel(*_: object) -> None:
        raise _Cancelled

    with _signals(cancel):
        yield


@contextmanager
def _undisturbed() -> Iterator[None]:
    with _signals(signal.SIG_IGN):
        yield


@contextmanager
def _signals(handler: Any) -> Iterator[None]:
    """SIGTERM and SIGINT are handled so within the block."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT) if main}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
