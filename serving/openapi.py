"""The OpenAPI description of the service, made from its schema classes."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from serving.schema import ErrorAnswer, Item, PredictAnswer, PredictRequest

_ERRORS = {
    400: "The body is not JSON",
    408: "The body came too slowly",
    413: "The body is too large",
    415: "The body is not application/json",
    422: "The request, an item or a tissue cannot be understood; `details` name item and field",
    429: "The queue is full; see Retry-After",
    503: "Not ready or stopping; see Retry-After",
    504: "No answer within the deadline",
}


def openapi() -> dict[str, Any]:
    """OpenAPI 3.1 of all routes."""
    _, definitions = models_json_schema(
        [(cls, "validation") for cls in (PredictRequest, Item, PredictAnswer, ErrorAnswer)],
        ref_template="#/components/schemas/{model}",
    )
    schemas = definitions["$defs"]
    # The server validates items one by one, so its request class leaves them open; clients may know their shape.
    schemas["PredictRequest"]["properties"]["items"]["items"] = {"$ref": "#/components/schemas/Item"}
    predict = {
        "summary": "Expression of transcripts per tissue",
        "requestBody": {"required": True, "content": _json("PredictRequest")},
        "responses": {
            "200": {"description": "Predictions in the order of the items", "content": _json("PredictAnswer")},
            **{str(status): {"description": text, "content": _json("ErrorAnswer")} for status, text in _ERRORS.items()},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "IsoFormer", "version": "1", "description": "Transcript isoform expression by tissue."},
        "paths": {
            "/v1/predict": {"post": predict},
            "/v1/model": {"get": _plain("Model card, metrics, tissues, limits, provenance", "application/json")},
            "/livez": {"get": _plain("The process answers", "text/plain")},
            "/readyz": {"get": _plain("The golden predictions were reproduced; 503 with the reason", "text/plain")},
            "/metrics": {"get": _plain("Prometheus metrics", "text/plain")},
        },
        "components": {"schemas": schemas},
    }


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _plain(summary: str, media_type: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {"200": {"description": "OK", "content": {media_type: {}}}, "503": {"description": "Not ready"}},
    }
