"""A small cluster for tests: the REST paths of Kubernetes that a TrainJob needs, and pods that are real processes.

Each TrainJob gets its machines as processes on this one, with the PET_* variables that the Trainer sets; their output
is the pods' logs, their statuses the job's. Paths below the claim's mount lie below `claim`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from components.train_model.trainjob import CLAIM_MOUNT

MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"
OBJECTS = re.compile(
    r"/apis/trainer\.kubeflow\.org/v1alpha1/namespaces/([^/]+)/(trainjobs|trainingruntimes)(?:/([^/]+))?"
)
PODS = re.compile(r"/api/v1/namespaces/([^/]+)/pods(?:/([^/]+)/log)?")


class Cluster:
    """`command`: what each machine runs in place of the manifest's command, where a test says so."""

    def __init__(self, claim: Path, command: list[str] | None = None) -> None:
        self.claim, self.command = claim, command
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.logs: dict[str, list[tuple[str, bytes]]] = {}  # moment and line
        self.changed = threading.Condition()
        self.requests: list[str] = []
        self.forbidden = False
        self.unavailable = 0  # so many of the next requests are answered with 503
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.daemon_threads = True
        self.server.cluster = self  # type: ignore[attr-defined]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def api(self, namespace: str = "team") -> Any:
        from kubernetes import client

        from components.train_model.kubernetes_api import TrainerApi

        settings = client.Configuration(host=self.address)
        settings.retries = False
        return TrainerApi(client.ApiClient(settings), namespace)

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
        self.server.shutdown()
        self.server.server_close()

    def create(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        body["metadata"] |= {"uid": str(uuid.uuid4()), "resourceVersion": "1"}
        with self.changed:
            self.objects[kind, body["metadata"]["name"]] = body
            self.changed.notify_all()
        if kind == "trainjobs":
            threading.Thread(target=self._run, args=(body,), daemon=True).start()
        return body

    def delete(self, kind: str, name: str) -> None:
        """Foreground: the object stays, marked, until its pods have ended."""
        with self.changed:
            self.objects[kind, name]["metadata"]["deletionTimestamp"] = _now()
            self.changed.notify_all()
        threading.Thread(target=self._finalise, args=(kind, name), daemon=True).start()

    def condition(self, name: str, kind: str, reason: str, message: str) -> None:
        with self.changed:
            job = self.objects.get(("trainjobs", name))
            if job is not None:
                told = {"type": kind, "status": "True", "reason": reason, "message": message}
                job.setdefault("status", {})["conditions"] = [told]
            self.changed.notify_all()

    def _run(self, job: dict[str, Any]) -> None:
        name, trainer = job["metadata"]["name"], job["spec"]["trainer"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for index in range(trainer["numNodes"]):
            pod = f"{name}-node-0-{index}-{uuid.uuid4().hex[:5]}"
            environment = {item["name"]: item["value"] for item in trainer["env"]} | {
                "PET_NNODES": str(trainer["numNodes"]),
                "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
                "PET_NODE_RANK": str(index),
                "PET_MASTER_ADDR": "127.0.0.1",
                "PET_MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
            }
            command = self.command or [*trainer["command"], *trainer["args"]]
            process = subprocess.Popen(
                [part.replace(CLAIM_MOUNT, str(self.claim)) for part in command],
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.logs[pod] = []
            threading.Thread(target=self._collect, args=(pod, process), daemon=True).start()
            labels = {"jobset.sigs.k8s.io/jobset-name": name, "batch.kubernetes.io/job-completion-index": str(index)}
            with self.changed:
                self.processes[pod] = process
                self.pods[pod] = {"metadata": {"name": pod, "labels": labels}, "status": _status({"running": {}})}
                self.changed.notify_all()
        self._watch_pods(name)

    def _collect(self, pod: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.logs[pod].append((_now(), line))

    def _watch_pods(self, job: str) -> None:
        own = [
            pod for pod in self.pods if self.pods[pod]["metadata"]["labels"]["jobset.sigs.k8s.io/jobset-name"] == job
        ]
        codes = {pod: self.processes[pod].wait() for pod in own}
        with self.changed:
            for pod, code in codes.items():
                if pod not in self.pods:  # deleted with its job
                    continue
                ended = {"exitCode": code % 256, "reason": "Completed" if code == 0 else "Error"}
                self.pods[pod]["status"] = _status({"terminated": ended}, "Failed" if code else "Succeeded")
        if any(codes.values()):
            self.condition(job, "Failed", "FailedJobs", "jobset failed due to one or more job failures")
        else:
            self.condition(job, "Complete", "AllJobsCompleted", "jobset completed successfully")

    def _finalise(self, kind: str, name: str) -> None:
        if kind == "trainjobs":
            own = [pod for pod in list(self.pods) if pod.startswith(f"{name}-node-")]
            for pod in own:
                if self.processes[pod].poll() is None:
                    os.killpg(self.processes[pod].pid, signal.SIGTERM)
            for pod in own:
                self.processes[pod].wait()
                self.pods.pop(pod, None)
        with self.changed:
            self.objects.pop((kind, name), None)
            self.changed.notify_all()


def _status(state: dict[str, Any], phase: str = "Running") -> dict[str, Any]:
    return {"phase": phase, "containerStatuses": [_container(state)]}


def _container(state: dict[str, Any]) -> dict[str, Any]:
    fixed = {"name": "node", "image": "i", "imageID": "", "ready": True, "restartCount": 0}
    return fixed | {"state": state}


def _now() -> str:
    return datetime.now(UTC).strftime(MOMENT)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def cluster(self) -> Cluster:
        return self.server.cluster  # type: ignore[attr-defined,no-any-return]

    def handle(self) -> None:
        """Serve a connection; that the other side breaks it is no error."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if not self._begin():
            return
        if match := OBJECTS.fullmatch(urlsplit(self.path).path):
            if match[3]:
                self._object(match[2], match[3])
            elif "watch" in query:
                self._watch(match[2], query)
        elif match := PODS.fullmatch(urlsplit(self.path).path):
            self._log(match[2], float(query.get("sinceSeconds", ["1e6"])[0])) if match[2] else self._list_pods(
                query["labelSelector"][0]
            )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._begin() and (match := OBJECTS.fullmatch(self.path)):
            if (match[2], body["metadata"]["name"]) in self.cluster.objects:
                self._fail(409, "AlreadyExists", f"{match[2]} already exists", body["metadata"]["name"])
            else:
                self._answer(201, self.cluster.create(match[2], body))

    def do_PATCH(self) -> None:
        change = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._begin() and (match := OBJECTS.fullmatch(self.path)):
            found = self.cluster.objects[match[2], match[3]]
            found["metadata"] |= change["metadata"]
            self._answer(200, found)

    def do_DELETE(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        if self._begin() and (match := OBJECTS.fullmatch(urlsplit(self.path).path)):
            if (match[2], match[3]) not in self.cluster.objects:
                self._fail(404, "NotFound", f"{match[2]} not found", match[3])
            else:
                self.cluster.delete(match[2], match[3])
                self._answer(200, {"kind": "Status", "status": "Success"})

    def _begin(self) -> bool:
        self.cluster.requests.append(f"{self.command} {self.path}")
        if self.cluster.unavailable:
            self.cluster.unavailable -= 1
            self._fail(503, "ServiceUnavailable", "the server is being updated", "")
            return False
        if self.cluster.forbidden:
            self._fail(403, "Forbidden", "no rights", "")
            return False
        return True

    def _object(self, kind: str, name: str) -> None:
        found = self.cluster.objects.get((kind, name))
        if found is None:
            self._fail(404, "NotFound", f"{kind} {name} not found", name)
        else:
            self._answer(200, found)

    def _list_pods(self, selector: str) -> None:
        key, _, value = selector.partition("=")
        pods = [pod for pod in self.cluster.pods.values() if pod["metadata"]["labels"].get(key) == value]
        self._answer(200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods})

    def _watch(self, kind: str, query: dict[str, list[str]]) -> None:
        """One event now, one per change, until the time is over."""
        name = query["fieldSelector"][0].removeprefix("metadata.name=")
        deadline = time.monotonic() + float(query["timeoutSeconds"][0])
        self._stream_headers()
        last: str | None = None
        while (left := deadline - time.monotonic()) > 0:
            with self.cluster.changed:
                found = self.cluster.objects.get((kind, name))
                now = None if found is None else json.dumps(found)
                if now == last:
                    self.cluster.changed.wait(min(left, 0.2))
                    continue
            event = {"type": "MODIFIED" if now else "DELETED", "object": json.loads(now or last or "{}")}
            last = now
            self._chunk((json.dumps(event) + "\n").encode())
        self._chunk(b"")

    def _log(self, pod: str, since_s: float) -> None:
        """What the process wrote and writes, line by line, until it has ended."""
        self._stream_headers()
        start = datetime.fromtimestamp(time.time() - since_s, UTC).strftime(MOMENT)
        lines, process, told = self.cluster.logs[pod], self.cluster.processes[pod], 0
        while True:
            over = process.poll() is not None
            for moment, line in lines[told:]:
                told += 1
                if moment >= start:
                    self._chunk(f"{moment} ".encode() + line)
            if over:
                break
            time.sleep(0.05)
        self._chunk(b"")

    def _stream_headers(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        try:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
        except OSError:  # who followed has gone
            self.close_connection = True

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _fail(self, status: int, reason: str, message: str, name: str) -> None:
        details = {"name": name} if name else {}
        self._answer(
            status, {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "details": details}
        )
