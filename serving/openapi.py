"""The OpenAPI description of the service, made from its schema classes."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from serving.effect_schema import EffectAnswer, EffectItem, EffectRequest
from serving.schema import ErrorAnswer, Item, PredictAnswer, PredictRequest

_ERRORS = {
    400: "The body is not JSON",
    404: "No reference is mounted",
    408: "The body came too slowly",
    413: "The body is too large",
    415: "The body is not application/json",
    422: "The request, an item or a tissue cannot be understood; `details` name item and field",
    429: "The queue is full; see Retry-After",
    503: "Not ready or stopping; see Retry-After",
    504: "No answer within the deadline",
}

_SCHEMAS = (PredictRequest, Item, PredictAnswer, EffectRequest, EffectItem, EffectAnswer, ErrorAnswer)


def openapi() -> dict[str, Any]:
    """OpenAPI 3.1 of all routes."""
    _, definitions = models_json_schema(
        [(cls, "validation") for cls in _SCHEMAS],
        ref_template="#/components/schemas/{model}",
    )
    schemas = definitions["$defs"]
    # The server validates items one by one, so its request class leaves them open; clients may know their shape.
    schemas["PredictRequest"]["properties"]["items"]["items"] = {"$ref": "#/components/schemas/Item"}
    schemas["EffectRequest"]["properties"]["items"]["items"] = {"$ref": "#/components/schemas/EffectItem"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "IsoFormer", "version": "1", "description": "Transcript isoform expression by tissue."},
        "paths": {
            "/v1/predict": {"post": _post("Expression of transcripts per tissue", "Predict")},
            "/v1/effect": {"post": _post("Change of expression that a variant or another change makes", "Effect")},
            "/v1/transcripts": {"get": _transcripts()},
            "/v1/model": {"get": _plain("Model card, metrics, tissues, limits, provenance", "application/json")},
            "/livez": {"get": _plain("The process answers", "text/plain")},
            "/readyz": {"get": _plain("The golden predictions were reproduced; 503 with the reason", "text/plain")},
            "/metrics": {"get": _plain("Prometheus metrics", "text/plain")},
        },
        "components": {"schemas": schemas},
    }


def _post(summary: str, name: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": _json(f"{name}Request")},
        "responses": {
            "200": {"description": "Answers in the order of the items", "content": _json(f"{name}Answer")},
            **_errors(*(status for status in _ERRORS if status != 404)),
        },
    }


def _transcripts() -> dict[str, Any]:
    gene = {"name": "gene", "in": "query", "required": True}
    return {
        "summary": "Transcripts of a gene of the mounted reference, by gene name, gene id or transcript id",
        "parameters": [{**gene, "schema": {"type": "string", "minLength": 1, "maxLength": 200}}],
        "responses": {
            "200": {
                "description": "The transcripts, none where the gene is unknown",
                "content": {"application/json": {}},
            },
            **_errors(404, 422, 503),
        },
    }


def _errors(*statuses: int) -> dict[str, Any]:
    return {str(status): {"description": _ERRORS[status], "content": _json("ErrorAnswer")} for status in statuses}


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _plain(summary: str, media_type: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {"200": {"description": "OK", "content": {media_type: {}}}, "503": {"description": "Not ready"}},
    }
