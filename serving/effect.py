"""POST /v1/effect: the predicted change between two transcripts, or that a variant makes in one of the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from components.variants import apply_variant, parse_variant
from model.batch import TranscriptInput
from model.errors import InputError
from serving.effect_schema import EffectAnswer, EffectAnswerItem, EffectItem, EffectRequest, TissueEffect
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
    readable,
    tissue_columns,
)
from serving.loaded import Loaded
from serving.normalize import BadItemError
from serving.predict import observe, to_tpm
from serving.schema import FieldError
from serving.server import Server


@dataclass(frozen=True)
class _Change:
    """Both sides of a change, ready to be predicted, and what is known of it."""

    reference: Prepared
    alternative: Prepared
    consequences: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()


async def effect(server: Server, request: Request) -> Response:
    """Answer a request for effects; raises `RefusalError`."""
    with model_of(server).used() as loaded:
        return await _effect(server, loaded, request)


async def _effect(server: Server, loaded: Loaded, request: Request) -> Response:
    engine = loaded.engine
    body = await read_request(request, server.settings, EffectRequest)
    tissues = tissue_columns(body, engine)

    def prepare(raw: Any, index: int) -> _Change:
        return _prepare(EffectItem.model_validate(raw), index, loaded)

    good, bad = await run_in_threadpool(prepare_all, body, prepare)
    sides = [side for change in good.values() for side in (change.reference, change.alternative)]
    predicted = await await_answers(request, server, loaded, sides)
    pairs = dict(zip(good, zip(predicted[0::2], predicted[1::2], strict=True), strict=True))
    items = []
    for index, raw in enumerate(body.items):
        named: dict[str, Any] = {"index": index, "id": echoed(raw, "id"), "variant": echoed(raw, "variant")}
        if index in good:
            items.append(_answer(named, good[index], pairs[index], tissues, engine))
        else:
            items.append(EffectAnswerItem(**named, errors=bad[index]))
    observe(server, sides, predicted, bad)
    server.observe("/v1/effect", loaded, sides, predicted)
    score = engine.about.get("variant_score")
    answer = EffectAnswer(
        items=items,
        validation="scored" if score else "unvalidated",
        variant_score=score,
        provenance=provenance_of(engine),
    )
    return json_response(answer)


def _prepare(item: EffectItem, index: int, loaded: Loaded) -> _Change:
    if item.reference is not None and item.alternative is not None:
        return _Change(
            _side(item.reference, "reference", index, loaded),
            _side(item.alternative, "alternative", index, loaded),
        )
    engine = loaded.engine
    reference = loaded.mounted_reference(index)
    assert item.id is not None
    assert item.variant is not None
    locus = reference.locus(item.id, index)
    try:
        edited = apply_variant(reference.genome, locus, parse_variant(item.variant))
    except InputError as error:
        message = f"expected {error.expected}, found {error.found}"
        raise BadItemError([FieldError(item=index, field="variant", message=message)]) from None
    before = engine.price(reference.transcript(item.id, index), ())
    after = engine.price(TranscriptInput(dna=edited.dna, rna=edited.rna, protein=edited.protein or None), ())
    return _Change(readable(before, index, engine), readable(after, index, engine), edited.consequences, edited.caveats)


def _side(item: Any, name: str, index: int, loaded: Loaded) -> Prepared:
    try:
        return prepare_item(item, index, loaded)
    except BadItemError as error:
        named = [problem.model_copy(update={"field": f"{name}.{problem.field}"}) for problem in error.errors]
        raise BadItemError(named) from None


def _answer(
    named: dict[str, Any],
    change: _Change,
    pair: tuple[Predicted, Predicted],
    tissues: list[tuple[str, int]],
    engine: Engine,
) -> EffectAnswerItem:
    before, after = (side.log1p_tpm for side in pair)
    tpm_change = to_tpm(after) - to_tpm(before)
    lengths = [len(side.transcript.protein or "") for side in (change.reference, change.alternative)]
    return EffectAnswerItem(
        **named,
        consequences=list(change.consequences),
        caveats=list(change.caveats),
        protein_residues=lengths,
        effect=[
            TissueEffect(
                tissue=tissue,
                reference_log1p_tpm=float(before[column]),
                alternative_log1p_tpm=float(after[column]),
                log1p_tpm_change=float(after[column]) - float(before[column]),
                tpm_change=float(tpm_change[column]),
            )
            for tissue, column in tissues
        ],
        notes=[*change.alternative.notes, *pair[1].notes],
        out_of_distribution=engine.signs(change.alternative),
    )
