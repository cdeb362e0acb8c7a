"""The logs of a job's pods as one: each line told as it is written, under the name of its machine."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from components.harness import UnavailableError
from components.train_model.kubernetes_api import TrainerApi
from model.errors import InputError

RETRY_S = 2.0
KEPT_LINES = 20
MACHINE_LABEL = "batch.kubernetes.io/job-completion-index"


class JobLogs:
    """Follows the log of every pod that it is shown; `say` gets each line once, from threads of its own."""

    def __init__(self, api: TrainerApi, container: str, say: Callable[[str], None]) -> None:
        self._api, self._container, self._say = api, container, say
        self._threads: dict[str, threading.Thread] = {}
        self._ended: set[str] = set()
        self.last_lines: dict[str, deque[str]] = {}

    def follow(self, pods: list[dict[str, Any]]) -> None:
        """Begin with pods whose container runs or has run."""
        for pod in pods:
            name = str(pod["metadata"]["name"])
            state = container_state(pod, self._container)
            if "terminated" in state:
                self._ended.add(name)
            if name not in self._threads and ("running" in state or "terminated" in state):
                self.last_lines[name] = deque(maxlen=KEPT_LINES)
                thread = threading.Thread(target=self._read, args=(name, machine_of(pod)), daemon=True)
                self._threads[name] = thread
                thread.start()

    def drain(self, seconds: float) -> None:
        """Wait until all that ended pods wrote is told, at most so long."""
        self._ended.update(self._threads)
        deadline = time.monotonic() + seconds
        for thread in self._threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _read(self, pod: str, machine: str) -> None:
        """To the end of a pod's log; goes on after a broken connection where it was."""
        last = ""
        while True:
            ended, told = pod in self._ended, last
            try:
                since = None if not told else _seconds_since(told)
                for line in self._api.log_lines(pod, self._container, since_s=since):
                    moment, _, text = line.partition(" ")
                    last = moment.rstrip("Z")  # RFC 3339 in UTC: sorts by time as text, but for the Z
                    if last > told:
                        self.last_lines[pod].append(text)
                        self._say(f"[{machine}] {text}")
            except UnavailableError:
                pass
            except InputError as error:  # the pod is gone, or may not be read
                if pod not in self._ended:
                    self._say(f"[{machine}] its log cannot be followed: {error.found}")
                return
            if ended:
                return
            time.sleep(RETRY_S)


def container_state(pod: Mapping[str, Any], container: str) -> dict[str, Any]:
    """`{"running": …}`, `{"terminated": …}` or `{"waiting": …}` of a container, empty before it is placed."""
    for status in pod.get("status", {}).get("containerStatuses") or ():
        if status["name"] == container:
            return dict(status.get("state") or {})
    return {}


def machine_of(pod: Mapping[str, Any]) -> str:
    """A short name of the machine that a pod is."""
    index = pod["metadata"].get("labels", {}).get(MACHINE_LABEL)
    return str(pod["metadata"]["name"]) if index is None else f"machine {index}"


def _seconds_since(moment: str) -> int:
    """Whole seconds, rounded up, since a timestamp of the log."""
    written = datetime.fromisoformat(moment[:19]).replace(tzinfo=UTC)
    return max(1, int((datetime.now(UTC) - written).total_seconds()) + 2)
