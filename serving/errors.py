"""Every answer that is not a result: one JSON shape, no input in it, none in the log."""

from __future__ import annotations

import logging
import traceback

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.logs import LOGGER
from serving.schema import ErrorAnswer, FieldError

CLIENT_CLOSED_REQUEST = 499
_log = logging.getLogger(LOGGER)


class RefusalError(Exception):
    """An answer other than 200, with the errors to report."""

    def __init__(
        self, status: int, error: str, details: list[FieldError] | None = None, retry_after_s: int | None = None
    ) -> None:
        self.status = status
        self.error = error
        self.details = details or []
        self.retry_after_s = retry_after_s
        super().__init__(error)


def field_errors(error: ValidationError, item: int | None) -> list[FieldError]:
    """Pydantic's complaints without the input that they complain about."""
    return [
        FieldError(
            item=item,
            field=".".join(map(str, problem["loc"])) or "item",
            message=problem["msg"].removeprefix("Value error, "),
        )
        for problem in error.errors(include_input=False, include_context=False, include_url=False)
    ]


def json_response(answer: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A pydantic answer as JSON."""
    return Response(answer.model_dump_json(), status, headers, media_type="application/json")


def on_refusal(request: Request, refusal: Exception) -> Response:
    """The answer to a `RefusalError`."""
    assert isinstance(refusal, RefusalError)
    headers = {} if refusal.retry_after_s is None else {"retry-after": str(refusal.retry_after_s)}
    return _answer(request, refusal.status, refusal.error, refusal.details, headers)


def on_http_exception(request: Request, error: Exception) -> Response:
    """The answer to what the router or the gate refused."""
    assert isinstance(error, HTTPException)
    return _answer(request, error.status_code, error.detail, [], dict(error.headers or {}))


def on_unexpected(request: Request, error: Exception) -> Response:
    """500; the log gets the place and the type of the error, not its message, which could hold a part of a sequence."""
    place = "".join(traceback.format_tb(error.__traceback__))
    fields = {"place": place, "request_id": _request_id(request)}
    _log.error("%s", type(error).__name__, extra=fields)
    return _answer(request, 500, "internal error", [], {})


def _answer(request: Request, status: int, error: str, details: list[FieldError], headers: dict[str, str]) -> Response:
    answer = ErrorAnswer(error=error, details=details, request_id=_request_id(request))
    return json_response(answer, status, headers)


def _request_id(request: Request) -> str | None:
    return request.scope.get("state", {}).get("request_id")
