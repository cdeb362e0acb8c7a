"""POST /v1/predict: from the body of a request to the answer, item by item."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from model.tokenizers import DNA_CODE_N, dna_codes
from serving.batching import OverloadedError, StoppingError
from serving.engine import Engine, Predicted, Prepared
from serving.errors import CLIENT_CLOSED_REQUEST, RefusalError, field_errors, json_response
from serving.normalize import BadItemError
from serving.schema import (
    FieldError,
    Item,
    ItemAnswer,
    PredictAnswer,
    PredictRequest,
    Provenance,
    TissueExpression,
)
from serving.server import Server
from serving.settings import Settings

_PROVENANCE = ("version", "model_digest", "dataset_version", "simulated")


async def predict(server: Server, request: Request) -> Response:
    """Answer a prediction request; raises `RefusalError`."""
    engine = server.ready_engine()
    if engine is None:
        raise RefusalError(503, f"not ready: {server.not_ready}", retry_after_s=5)
    body = _parse(await _read_body(request, server.settings.deadline_s), server.settings)
    tissues = _tissue_columns(body, engine)
    # Reading long sequences takes milliseconds: not in the event loop.
    good, bad = await run_in_threadpool(_prepare_all, body, server, engine)
    if bad and not body.partial:
        errors = [error for of_item in bad.values() for error in of_item]
        raise RefusalError(422, "some items cannot be predicted; nothing was predicted", errors)
    predicted = await _await_answers(request, server, list(good.values())) if good else []
    answers = dict(zip(good, predicted, strict=True))
    items = []
    for index, raw in enumerate(body.items):
        if index in good:
            items.append(_answer(index, raw, good[index], answers[index], tissues))
        else:
            items.append(ItemAnswer(index=index, id=_echoed_id(raw), errors=bad[index]))
    _observe(server, good, bad, items)
    provenance = Provenance(**{name: engine.about[name] for name in _PROVENANCE})
    return json_response(PredictAnswer(items=items, provenance=provenance))


async def _read_body(request: Request, deadline_s: float) -> bytes:
    try:
        return await asyncio.wait_for(request.body(), deadline_s)
    except TimeoutError:
        raise RefusalError(408, f"the body did not arrive within {deadline_s:g} s") from None
    except ClientDisconnect:
        raise RefusalError(CLIENT_CLOSED_REQUEST, "the client went away") from None


def _parse(body: bytes, settings: Settings) -> PredictRequest:
    try:
        data = json.loads(body, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        # The message of a JSON error holds what was expected, never a part of the body.
        raise RefusalError(400, f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else "not UTF-8 text"
        raise RefusalError(400, f"the body is not JSON: {reason}") from None
    try:
        request = PredictRequest.model_validate(data)
    except ValidationError as error:
        raise RefusalError(422, "the request does not fit its schema", field_errors(error, None)) from None
    if len(request.items) > settings.max_items:
        message = f"{len(request.items):,} items; at most {settings.max_items:,} are accepted per request"
        raise RefusalError(422, message, [FieldError(field="items", message=message)])
    return request


def _refuse_constant(name: str) -> None:
    raise json.JSONDecodeError(f"{name} is not a JSON number", "", 0)


def _tissue_columns(body: PredictRequest, engine: Engine) -> list[tuple[str, int]]:
    """Names and columns of the tissues asked for, each once, in the order asked."""
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


def _prepare_all(
    body: PredictRequest, server: Server, engine: Engine
) -> tuple[dict[int, Prepared], dict[int, list[FieldError]]]:
    """Good items and the errors of bad ones, by index."""
    good: dict[int, Prepared] = {}
    bad: dict[int, list[FieldError]] = {}
    for index, raw in enumerate(body.items):
        try:
            good[index] = _prepare(Item.model_validate(raw), index, server, engine)
        except ValidationError as error:
            bad[index] = field_errors(error, index)
        except BadItemError as error:
            bad[index] = error.errors
    return good, bad


def _prepare(item: Item, index: int, server: Server, engine: Engine) -> Prepared:
    if item.id is None:
        prepared = engine.prepare(item, index)
    elif server.reference is None:
        raise BadItemError([FieldError(item=index, field="id", message="no reference is mounted: send sequences")])
    else:
        prepared = engine.price(server.reference.transcript(item.id, index), ())
    if not prepared.modalities:
        reads = ", ".join(engine.config.modalities)
        raise BadItemError([FieldError(item=index, field="item", message=f"the model reads {reads} only")])
    return prepared


async def _await_answers(request: Request, server: Server, prepared: list[Prepared]) -> list[Predicted]:
    """Wait for the queue, the client's going away or the deadline, whichever comes first."""
    deadline_s = server.settings.deadline_s
    work = asyncio.ensure_future(
        server.queue.submit([item.transcript for item in prepared], [item.tokens for item in prepared])
    )
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({work, gone}, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        if gone.done():
            raise RefusalError(CLIENT_CLOSED_REQUEST, "the client went away")
        raise RefusalError(504, f"no answer within {deadline_s:g} s", retry_after_s=5)
    except OverloadedError as error:
        raise RefusalError(429, "the queue is full", retry_after_s=error.retry_after_s) from None
    except StoppingError:
        raise RefusalError(503, "the server is stopping", retry_after_s=5) from None
    finally:
        server.metrics.queue_tokens.set(server.queue.waiting_tokens)
        work.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _answer(
    index: int, raw: Any, prepared: Prepared, predicted: Predicted, tissues: list[tuple[str, int]]
) -> ItemAnswer:
    log1p = predicted.log1p_tpm
    tpm = np.maximum(np.expm1(log1p.astype(np.float64)), 0.0)
    expression = [
        TissueExpression(tissue=tissue, log1p_tpm=float(log1p[column]), tpm=float(tpm[column]))
        for tissue, column in tissues
    ]
    return ItemAnswer(
        index=index,
        id=_echoed_id(raw),
        modalities=list(prepared.modalities),
        expression=expression,
        notes=[*prepared.notes, *predicted.notes],
    )


def _echoed_id(raw: Any) -> str | None:
    name = raw.get("id") if isinstance(raw, dict) else None
    return name if isinstance(name, str) and len(name) <= 200 else None


def _observe(
    server: Server, good: dict[int, Prepared], bad: dict[int, list[FieldError]], answers: list[ItemAnswer]
) -> None:
    metrics = server.metrics
    metrics.items.labels("predicted").inc(len(good))
    metrics.items.labels("refused").inc(len(bad))
    for answer in answers:
        for note in answer.notes:
            metrics.notes.labels(note.field, note.code).inc()
    for item in good.values():
        transcript = item.transcript
        if transcript.dna is not None:
            metrics.unknown_bases.labels("dna").inc(int((transcript.dna == DNA_CODE_N).sum()))
        if transcript.rna:
            metrics.residues.labels("rna").observe(len(transcript.rna))
            metrics.unknown_bases.labels("rna").inc(int((dna_codes(transcript.rna) == DNA_CODE_N).sum()))
        if transcript.protein:
            metrics.residues.labels("protein").observe(len(transcript.protein))
