"""A Kubeflow Pipelines API on loopback that speaks the real REST paths with the real models, for tests.

Bodies are read by the generated client's own models; a field that they do not know, or a missing token, is refused.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api

TOKEN = "let-me-in"
BASE = "/apis/v2beta1"


class Kubeflow(ThreadingHTTPServer):
    """State of the installation: experiments by name, runs and recurring runs by id, states that runs go through."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.recurring: dict[str, dict[str, Any]] = {}
        self.seen_tokens: list[str] = []
        # What each GET of a run shows next: (state of the run, tasks as (name, state, error)).
        self.story: list[tuple[str, list[tuple[str, str, str]]]] = [("PENDING", [])]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Kubeflow

    def log_message(self, *_: object) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _answer(self, handle: Any) -> None:
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        self.server.seen_tokens.append(token)
        if token != TOKEN:
            return self._send(401, {"code": 16, "message": "Request not authenticated"})
        try:
            status, body = handle(urlsplit(self.path))
        except _RefusedError as error:
            status, body = 400, {"code": 3, "message": str(error)}
        return self._send(status, body)

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body, default=str).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _get(self, url: Any) -> tuple[int, dict[str, Any]]:
        if url.path == f"{BASE}/healthz":
            return 200, {"multi_user": True}
        if url.path == f"{BASE}/experiments":
            wanted = json.loads(parse_qs(url.query)["filter"][0])["predicates"][0]
            found = self.server.experiments.get(wanted.get("stringValue") or wanted.get("string_value"))
            return 200, {"experiments": [found]} if found else {}
        if url.path == f"{BASE}/recurringruns":
            # A page holds two.
            query = parse_qs(url.query)
            start = int(query.get("page_token", ["0"])[0] or 0)
            own = [run for run in self.server.recurring.values() if run["experiment_id"] == query["experiment_id"][0]]
            more = {"next_page_token": str(start + 2)} if len(own) > start + 2 else {}
            return 200, {"recurringRuns": own[start : start + 2]} | more
        if match := re.fullmatch(rf"{BASE}/runs/([\w-]+)", url.path):
            run = self.server.runs.get(match[1])
            return (200, self._told(run)) if run else (404, {"code": 5, "message": f"Run {match[1]} not found"})
        return 404, {"code": 5, "message": "Not Found"}

    def _post(self, url: Any) -> tuple[int, dict[str, Any]]:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if url.path == f"{BASE}/experiments":
            record = _checked(body, kfp_server_api.V2beta1Experiment) | {"experiment_id": str(uuid.uuid4())}
            self.server.experiments[record["display_name"]] = record
            return 200, record
        if url.path == f"{BASE}/runs":
            record = _checked(body, kfp_server_api.V2beta1Run) | {"run_id": str(uuid.uuid4())}
            _check_spec(record)
            self.server.runs[record["run_id"]] = record
            return 200, record
        if url.path == f"{BASE}/recurringruns":
            record = _checked(body, kfp_server_api.V2beta1RecurringRun) | {"recurring_run_id": str(uuid.uuid4())}
            _check_spec(record)
            self.server.recurring[record["recurring_run_id"]] = record
            return 200, record
        return 404, {"code": 5, "message": "Not Found"}

    def _delete(self, url: Any) -> tuple[int, dict[str, Any]]:
        match = re.fullmatch(rf"{BASE}/recurringruns/([\w-]+)", url.path)
        if match is None or match[1] not in self.server.recurring:
            return 404, {"code": 5, "message": "Not Found"}
        del self.server.recurring[match[1]]
        return 200, {}

    def _told(self, run: dict[str, Any]) -> dict[str, Any]:
        story = self.server.story
        state, tasks = story.pop(0) if len(story) > 1 else story[0]
        times = {"create_time": "2026-01-01T00:00:00Z"}
        details = [
            times
            | {"display_name": name, "state": task, "start_time": f"2026-01-01T00:00:0{position}Z"}
            | ({"error": {"code": 2, "message": error}} if error else {})
            for position, (name, task, error) in enumerate(tasks)
        ]
        return run | {"state": state, "run_details": {"task_details": details}}


class _RefusedError(Exception):
    """A body that the real server would refuse."""


def _checked(body: dict[str, Any], model: Any) -> dict[str, Any]:
    unknown = body.keys() - set(model.attribute_map.values())
    if unknown:
        raise _RefusedError(f"unknown field {sorted(unknown)[0]}")
    # Refuses wrong types and words outside an enumeration.
    kfp_server_api.ApiClient()._ApiClient__deserialize(body, model)
    return body


def _check_spec(record: dict[str, Any]) -> None:
    """What the server does with a package first: read it, and look for values of all parameters."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    given = record["pipeline_spec"]
    spec = given.get("pipeline_spec", given)
    parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    values = record.get("runtime_config", {}).get("parameters", {})
    for name, entry in parsed.root.input_definitions.parameters.items():
        if name not in values and not entry.HasField("default_value") and not entry.is_optional:
            raise _RefusedError(
                f"parameter {name} is not optional, yet has neither default value nor user provided value"
            )


@contextmanager
def kubeflow() -> Iterator[Kubeflow]:
    """A running installation; it ends with the block."""
    with Kubeflow() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
