"""OpenTelemetry hooks: spans of requests and batches, for whoever configures an SDK; else they cost nothing.

Attributes are counts and names of routes, never a sequence or an id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace

_tracer = trace.get_tracer("isoformer")


@contextmanager
def span(name: str, attributes: Mapping[str, Any]) -> Iterator[trace.Span]:
    """A span while the block runs; an exception is recorded by its type alone: its message could hold input."""
    with _tracer.start_as_current_span(
        name, attributes=dict(attributes), record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except Exception as error:
            current.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise
