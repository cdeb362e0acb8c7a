"""POST /v1/predict: from the body of a request to the answer, item by item."""

from __future__ import annotations

from typing import Any

import numpy as np
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from model.tokenizers import DNA_CODE_N, dna_codes
from serving.engine import Engine, Predicted, Prepared
from serving.errors import json_response
from serving.exchange import (
    await_answers,
    echoed,
    model_of,
    prepare_all,
    prepare_item,
    provenance_of,
    read_request,
    tissue_columns,
)
from serving.loaded import Loaded
from serving.schema import FieldError, Item, ItemAnswer, PredictAnswer, PredictRequest, TissueExpression
from serving.server import Server

# About a quarter of a millisecond of reading; what comes with each item counts as so many letters.
_SHORT_LETTERS = 32_768
_LETTERS_PER_ITEM = 2_000


async def predict(server: Server, request: Request) -> Response:
    """Answer a prediction request; raises `RefusalError`."""
    with model_of(server).used() as loaded:
        return await _predict(server, loaded, request)


async def _predict(server: Server, loaded: Loaded, request: Request) -> Response:
    engine = loaded.engine
    body = await read_request(request, server.settings, PredictRequest)
    tissues = tissue_columns(body, engine)

    def prepare(raw: Any, index: int) -> Prepared:
        return prepare_item(Item.model_validate(raw), index, loaded)

    if _is_short(body, engine.config.window_bp):
        good, bad = prepare_all(body, prepare)
    else:
        # Reading long sequences, or a reference, takes milliseconds: not in the event loop.
        good, bad = await run_in_threadpool(prepare_all, body, prepare)
    predicted = await await_answers(request, server, loaded, list(good.values()))
    answers = dict(zip(good, predicted, strict=True))
    items = []
    for index, raw in enumerate(body.items):
        if index in good:
            items.append(_answer(index, raw, good[index], answers[index], tissues, engine))
        else:
            items.append(ItemAnswer(index=index, id=echoed(raw, "id"), errors=bad[index]))
    intervals = engine.intervals.described if engine.intervals else None
    response = json_response(PredictAnswer(items=items, intervals=intervals, provenance=provenance_of(engine)))

    async def remember() -> None:
        observe(server, list(good.values()), predicted, bad)
        server.observe("/v1/predict", loaded, list(good.values()), predicted)

    # After the answer is on its way, before anything else is done.
    response.background = BackgroundTask(remember)
    return response


def _is_short(body: PredictRequest, window_bp: int) -> bool:
    """Whether the items hold sequences alone, and so few letters that a hop to another thread would cost more."""
    letters = _LETTERS_PER_ITEM * len(body.items)
    for raw in body.items:
        if not isinstance(raw, dict) or "id" in raw:
            return False
        # A window is padded to its full length, however short it comes.
        letters += window_bp if raw.get("dna") else 0
        letters += sum(len(value) for value in raw.values() if isinstance(value, str))
    return letters <= _SHORT_LETTERS


def _answer(
    index: int,
    raw: Any,
    prepared: Prepared,
    predicted: Predicted,
    tissues: list[tuple[str, int]],
    engine: Engine,
) -> ItemAnswer:
    log1p, tpm = predicted.log1p_tpm.tolist(), to_tpm(predicted.log1p_tpm).tolist()
    spans = engine.intervals.around(predicted.log1p_tpm) if engine.intervals else None
    # Valid by construction, as the intervals are.
    expression = [
        TissueExpression.model_construct(
            tissue=tissue, log1p_tpm=log1p[column], tpm=tpm[column], interval=spans[column] if spans else None
        )
        for tissue, column in tissues
    ]
    return ItemAnswer(
        index=index,
        id=echoed(raw, "id"),
        modalities=list(prepared.modalities),
        expression=expression,
        notes=[*prepared.notes, *predicted.notes],
        out_of_distribution=engine.signs(prepared),
    )


def to_tpm(log1p_tpm: np.ndarray) -> np.ndarray:
    """TPM float64 of log1p TPM, at least 0."""
    return np.maximum(np.expm1(log1p_tpm.astype(np.float64)), 0.0)


def observe(
    server: Server, prepared: list[Prepared], predicted: list[Predicted], bad: dict[int, list[FieldError]]
) -> None:
    """Count outcomes, changes and lengths of one request."""
    metrics = server.metrics
    metrics.items.labels("predicted").inc(len(prepared))
    metrics.items.labels("refused").inc(len(bad))
    for item, answer in zip(prepared, predicted, strict=True):
        for note in (*item.notes, *answer.notes):
            metrics.notes.labels(note.field, note.code).inc()
        transcript = item.transcript
        if transcript.dna is not None:
            metrics.unknown_bases.labels("dna").inc(int((transcript.dna == DNA_CODE_N).sum()))
        if transcript.rna:
            metrics.residues.labels("rna").observe(len(transcript.rna))
            metrics.unknown_bases.labels("rna").inc(int((dna_codes(transcript.rna) == DNA_CODE_N).sum()))
        if transcript.protein:
            metrics.residues.labels("protein").observe(len(transcript.protein))
