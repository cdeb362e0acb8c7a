"""The gate in front of the service: keys, body size, content type, security headers, request ids, access log."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from serving.keys import may_pass
from serving.logs import LOGGER

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SECURITY_HEADERS: list[tuple[bytes, bytes]] = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"cache-control", b"no-store"),
]
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# Asked every few seconds by probes and scrapers.
_UNLOGGED = frozenset(("/livez", "/healthz", "/readyz", "/metrics"))
_KNOWN = frozenset(
    (
        "/",
        "/v1/predict",
        "/v1/effect",
        "/v1/transcripts",
        "/v1/model",
        "/openapi.json",
        "/static/page.js",
        "/static/page.css",
    )
)
_log = logging.getLogger(f"{LOGGER}.access")


class Gate:
    """ASGI middleware: 401 without one of `keys()`, 413 over `max_body_bytes()`, 415 for a body that is not JSON.

    The body is counted as it comes, so a missing or false Content-Length lets nothing through. Neither a body nor a
    query string is ever logged.
    """

    def __init__(
        self, app: App, max_body_bytes: Callable[[], int], keys: Callable[[], tuple[bytes, ...]] = lambda: ()
    ) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; whatever is not HTTP passes."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0
        received = 0

        async def counted_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_body_bytes():
                raise HTTPException(413, self._too_large())
            return message

        async def guarded_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", []),
                    *SECURITY_HEADERS,
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            refusal = self._refusal(scope, headers)
            if refusal:
                await _refuse(guarded_send, *refusal, request_id)
            else:
                await self.app(scope, counted_receive, guarded_send)
        finally:
            fields = {
                "method": scope["method"],
                # A path of the client's own making could hold anything, a sequence too.
                "path": scope["path"] if scope["path"] in _KNOWN else "other",
                "status": status,
                "latency_ms": round(1e3 * (time.perf_counter() - started), 2),
                "received_bytes": received,
                "request_id": request_id,
            }
            if scope["path"] not in _UNLOGGED:
                _log.info("request", extra=fields)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        if not may_pass(scope["path"], headers, self.keys()):
            return 401, "send an API key: Authorization: Bearer KEY"
        if scope["method"] not in ("POST", "PUT", "PATCH"):
            return None
        media_type = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if media_type != b"application/json":
            return 415, "send application/json"
        if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            return 415, "send the body without content encoding"
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.max_body_bytes():
            return 413, self._too_large()
        return None

    def _too_large(self) -> str:
        return f"the body is larger than {self.max_body_bytes():,} bytes; send fewer items per request"


def _request_id(headers: dict[bytes, bytes]) -> str:
    """The client's X-Request-ID where it is harmless, else a new one."""
    given = headers.get(b"x-request-id", b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


async def _refuse(send: Send, status: int, error: str, request_id: str) -> None:
    body = json.dumps({"error": error, "details": [], "request_id": request_id}).encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            # What is left of the body is not read: the connection cannot be used again.
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
                *([(b"www-authenticate", b"Bearer")] if status == 401 else []),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
