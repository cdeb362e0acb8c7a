"""What every prediction route does with a request: read, parse, choose tissues, wait for answers, say who answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request

from serving.batching import OverloadedError, StoppingError
from serving.engine import Engine, Predicted, Prepared
from serving.errors import CLIENT_CLOSED_REQUEST, RefusalError, field_errors
from serving.loaded import Loaded
from serving.normalize import BadItemError
from serving.schema import FieldError, Item, Provenance
from serving.schema import Request as RequestBody
from serving.server import Server
from serving.settings import Settings

Body = TypeVar("Body", bound=RequestBody)
Good = TypeVar("Good")

_PROVENANCE = ("version", "model_digest", "dataset_version", "simulated")


def model_of(server: Server) -> Loaded:
    """The loaded model; 503 where it is not ready."""
    loaded = server.ready_model()
    if loaded is None:
        raise RefusalError(503, f"not ready: {server.not_ready}", retry_after_s=5)
    return loaded


async def read_request(request: Request, settings: Settings, schema: type[Body]) -> Body:
    """The body as `schema`; raises `RefusalError` 400, 408 or 422."""
    return _parse(await _read_body(request, settings.deadline_s), settings, schema)


async def _read_body(request: Request, deadline_s: float) -> bytes:
    try:
        async with asyncio.timeout(deadline_s):
            return await request.body()
    except TimeoutError:
        raise RefusalError(408, f"the body did not arrive within {deadline_s:g} s") from None
    except ClientDisconnect:
        raise RefusalError(CLIENT_CLOSED_REQUEST, "the client went away") from None


def _parse(body: bytes, settings: Settings, schema: type[Body]) -> Body:
    try:
        data = json.loads(body, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        # The message of a JSON error holds what was expected, never a part of the body.
        raise RefusalError(400, f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else "not UTF-8 text"
        raise RefusalError(400, f"the body is not JSON: {reason}") from None
    try:
        request = schema.model_validate(data)
    except ValidationError as error:
        raise RefusalError(422, "the request does not fit its schema", field_errors(error, None)) from None
    if len(request.items) > settings.max_items:
        message = f"{len(request.items):,} items; at most {settings.max_items:,} are accepted per request"
        raise RefusalError(422, message, [FieldError(field="items", message=message)])
    return request


def _refuse_constant(name: str) -> None:
    raise json.JSONDecodeError(f"{name} is not a JSON number", "", 0)


def tissue_columns(body: RequestBody, engine: Engine) -> list[tuple[str, int]]:
    """Names and columns of the tissues asked for, each once, in the order asked; 422 for an unknown one."""
    known = {name: column for column, name in enumerate(engine.config.tissues)}
    wanted = list(known) if body.tissues is None else body.tissues
    errors = [
        FieldError(field=f"tissues.{place}", message="not a tissue of this model; GET /v1/model lists them")
        for place, name in enumerate(wanted)
        if name not in known
    ]
    if errors:
        raise RefusalError(422, "unknown tissues", errors)
    return [(name, known[name]) for name in dict.fromkeys(wanted)]


def prepare_all(
    body: RequestBody, prepare: Callable[[Any, int], Good]
) -> tuple[dict[int, Good], dict[int, list[FieldError]]]:
    """Good items and the errors of bad ones, by index; bad ones refuse the request unless it is partial."""
    good: dict[int, Good] = {}
    bad: dict[int, list[FieldError]] = {}
    for index, raw in enumerate(body.items):
        try:
            good[index] = prepare(raw, index)
        except ValidationError as error:
            bad[index] = field_errors(error, index)
        except BadItemError as error:
            bad[index] = error.errors
    if bad and not body.partial:
        errors = [error for of_item in bad.values() for error in of_item]
        raise RefusalError(422, "some items cannot be predicted; nothing was predicted", errors)
    return good, bad


def prepare_item(item: Item, index: int, loaded: Loaded) -> Prepared:
    """The model's input of an item, by its sequences or its id; raises `BadItemError`."""
    engine = loaded.engine
    if item.id is None:
        prepared = engine.prepare(item, index)
    else:
        reference = loaded.mounted_reference(index)
        prepared = engine.price(reference.transcript(item.id, index), ())
    return readable(prepared, index, engine)


def readable(prepared: Prepared, index: int, engine: Engine) -> Prepared:
    """`prepared`, unless the model reads none of its modalities: `BadItemError`."""
    if not prepared.modalities:
        reads = ", ".join(engine.config.modalities)
        raise BadItemError([FieldError(item=index, field="item", message=f"the model reads {reads} only")])
    return prepared


async def await_answers(
    request: Request, server: Server, loaded: Loaded, prepared: Sequence[Prepared]
) -> list[Predicted]:
    """Wait for the queue, the client's going away or the deadline, whichever comes first."""
    if not prepared:
        return []
    deadline_s = server.settings.deadline_s
    try:
        work = loaded.queue.enqueue([item.transcript for item in prepared], [item.tokens for item in prepared])
    except OverloadedError as error:
        raise RefusalError(429, "the queue is full", retry_after_s=error.retry_after_s) from None
    except StoppingError:
        raise RefusalError(503, "the server is stopping", retry_after_s=5) from None
    gone = asyncio.ensure_future(_disconnected(request))
    either: set[asyncio.Future[Any]] = {work, gone}
    try:
        await asyncio.wait(either, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        if gone.done():
            raise RefusalError(CLIENT_CLOSED_REQUEST, "the client went away")
        raise RefusalError(504, f"no answer within {deadline_s:g} s", retry_after_s=5)
    finally:
        server.metrics.queue_tokens.set(loaded.queue.waiting_tokens)
        work.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def provenance_of(engine: Engine) -> Provenance:
    """Which model answers."""
    return Provenance(**{name: engine.about[name] for name in _PROVENANCE})


def echoed(raw: Any, name: str) -> str | None:
    """A short text field of an item as it was sent."""
    value = raw.get(name) if isinstance(raw, dict) else None
    return value if isinstance(value, str) and len(value) <= 200 else None
