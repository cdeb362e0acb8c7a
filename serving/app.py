"""The routes of the service. The application runs inside the BentoML service of serving/service.py."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from serving.effect import effect
from serving.errors import RefusalError, on_http_exception, on_refusal, on_unexpected
from serving.exchange import model_of
from serving.openapi import openapi
from serving.predict import predict
from serving.schema import FieldError
from serving.server import Server
from serving.tracing import span

STATIC = Path(__file__).resolve().parent / "static"
Handler = Callable[[Server, Request], Awaitable[Response]]


def build_app(server: Server) -> Starlette:
    """The application of `server`; its lifespan starts and stops it."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        # Not awaited: while a large model loads, /livez answers already and /readyz says why not yet.
        starting = asyncio.create_task(server.start())
        yield
        await starting
        await server.stop()

    routes = [
        Route("/v1/predict", _counted(server, "/v1/predict", predict), methods=["POST"]),
        Route("/v1/effect", _counted(server, "/v1/effect", effect), methods=["POST"]),
        Route("/v1/transcripts", _counted(server, "/v1/transcripts", _transcripts), methods=["GET"]),
        Route("/v1/model", _counted(server, "/v1/model", _model), methods=["GET"]),
        Route("/metrics", _counted(server, "/metrics", _metrics), methods=["GET"]),
        Route("/openapi.json", _counted(server, "/openapi.json", _openapi), methods=["GET"]),
        Route("/", _counted(server, "/", _page), methods=["GET"]),
        Mount("/static", StaticFiles(directory=STATIC)),
        # Shadows the pages that BentoML would add, which load scripts from elsewhere.
        Route("/{path:path}", _not_found, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
    ]
    handlers = {RefusalError: on_refusal, HTTPException: on_http_exception}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)


async def _model(server: Server, _: Request) -> Response:
    loaded = server.loaded
    if loaded is None:
        raise RefusalError(503, f"not ready: {server.not_ready}", retry_after_s=5)
    engine, settings = loaded.engine, server.settings
    config = engine.config
    limits = {
        "body_bytes": settings.max_body_bytes,
        "items": settings.max_items,
        "residues": settings.max_residues,
        "deadline_s": settings.deadline_s,
        "window_bp": config.window_bp,
        "rna_tokens": config.rna.max_tokens if config.rna else None,
        "protein_residues": config.protein.max_tokens - 2 if config.protein else None,
    }
    return JSONResponse(
        {
            **engine.about,
            "tissues": list(config.tissues),
            "modalities": list(config.modalities),
            "intervals": engine.intervals.described.model_dump() if engine.intervals else None,
            "effects": "scored" if engine.about.get("variant_score") else "unvalidated",
            "limits": limits,
            "reference": loaded.reference.digest if loaded.reference else None,
            "refused": server.refused or None,
        }
    )


async def _transcripts(server: Server, request: Request) -> Response:
    reference = model_of(server).reference
    if reference is None:
        raise RefusalError(404, "no reference is mounted")
    gene = request.query_params.get("gene", "").strip()
    if not 0 < len(gene) <= 200:
        problem = FieldError(field="gene", message="a gene name, gene id or transcript id")
        raise RefusalError(422, "name a gene", [problem])
    found = await run_in_threadpool(reference.transcripts_of, gene)
    return JSONResponse({"gene": gene, "transcripts": found})


async def _metrics(server: Server, _: Request) -> Response:
    text, content_type = await run_in_threadpool(server.exposition)
    return Response(text, media_type=content_type)


async def _openapi(_: Server, __: Request) -> Response:
    return JSONResponse(openapi())


async def _page(_: Server, __: Request) -> Response:
    return Response((STATIC / "index.html").read_bytes(), media_type="text/html; charset=utf-8")


async def _not_found(_: Request) -> Response:
    raise HTTPException(404)


def _counted(server: Server, route: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Turn every exception into an answer, and count requests and time by route and status."""

    async def answer(request: Request) -> Response:
        started = time.perf_counter()
        with span(route, {"http.route": route}) as current:
            try:
                response = await handler(server, request)
            except RefusalError as refusal:
                response = on_refusal(request, refusal)
            except HTTPException as error:
                response = on_http_exception(request, error)
            except Exception as error:
                response = on_unexpected(request, error)
            current.set_attribute("http.response.status_code", response.status_code)
        server.metrics.requests.labels(route, str(response.status_code)).inc()
        server.metrics.request_seconds.labels(route).observe(time.perf_counter() - started)
        return response

    return answer
