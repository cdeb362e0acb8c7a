"""The one BentoML service: `bentoml serve serving.service:service`.

BentoML builds, containerises and runs it. The routes are an application mounted in it rather than `@bentoml.api`
methods, because those accept bodies of any size and type, answer 400 instead of 422, and log the input of a failed
validation.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from typing import Any

import bentoml
import uvicorn.config
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from starlette.exceptions import HTTPException

from serving.app import build_app
from serving.limits import Gate
from serving.server import Server

_PR_SET_PDEATHSIG = 1
# BentoML leaves the choice to uvicorn, whose fast reader has no bound on headers.
uvicorn.config.HTTP_PROTOCOLS["auto"] = "serving.protocol:BoundedProtocol"
_server = Server()


class IsoFormerService:
    """Transcript isoform expression in human tissues from DNA, RNA and protein."""

    async def __is_ready__(self) -> bool:
        """True once the golden predictions are reproduced; else 503 with the reason."""
        if _server.not_ready:
            raise HTTPException(503, f"not ready: {_server.not_ready}")
        if _server.refused:
            # The one way to say something with BentoML's probe: ready, and why not with the newest package.
            raise HTTPException(200, f"ready; refused {_server.refused}")
        return True


class UntimedService(bentoml.Service[Any]):
    """A BentoML service without BentoML's timeout, and without its tracing where nobody listens.

    The first starts a timer per request and never cancels it; each holds 5 kB until it runs out, so memory grows
    with the rate of requests. The service keeps a deadline of its own.
    """

    def to_asgi(self, is_main: bool = True) -> Any:
        """The application of a worker process."""
        _end_with_parent()
        app: Any = super().to_asgi(is_main)
        unwanted = {TimeoutMiddleware} if _traced() else {TimeoutMiddleware, OpenTelemetryMiddleware}
        app.user_middleware = [layer for layer in app.user_middleware if layer.cls not in unwanted]
        return app


def _traced() -> bool:
    """Whether anybody collects traces: BentoML's own settings say so, or an SDK is configured in this process.

    If not, BentoML's tracing takes a quarter of a millisecond of each request for nothing.
    """
    return bool(BentoMLContainer.tracing.sample_rate.get()) or not isinstance(
        trace.get_tracer_provider(), trace.ProxyTracerProvider
    )


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM when BentoML's parent process dies: its workers have sessions of their own.

    Without it a worker whose parent was killed keeps the port and goes on answering, and nobody can stop it by name.
    """
    if sys.platform == "linux" and "_bentoml_impl.worker.service" in sys.orig_argv:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


service = bentoml.service(
    IsoFormerService,
    name="isoformer",
    service_class=UntimedService,
    workers=1,
    http={"host": "127.0.0.1"},
    # Both are kept by the service itself: BentoML's metrics take their labels from the paths that clients invent.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
service.mount_asgi_app(build_app(_server), path="/", name="isoformer")
service.add_asgi_middleware(Gate, max_body_bytes=lambda: _server.settings.max_body_bytes, keys=lambda: _server.keys)
