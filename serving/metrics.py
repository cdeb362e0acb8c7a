"""Prometheus metrics of the server; labels take few values, none of a client's choosing."""

from __future__ import annotations

import os
from typing import Any

_TOKEN_BUCKETS = tuple(2**power for power in range(6, 19))
_SECOND_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counters and histograms of one server process.

    prometheus_client is imported here and not with the module: it decides at import time, by an environment variable
    that BentoML sets for its workers, whether values are shared between processes.
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        common: dict[str, Any] = {"namespace": "isoformer", "registry": self.registry}
        self.requests = Counter("requests", "Answered requests", ["route", "status"], **common)
        self.request_seconds = Histogram(
            "request_seconds", "Time to answer", ["route"], buckets=_SECOND_BUCKETS, **common
        )
        self.items = Counter("items", "Items by outcome", ["outcome"], **common)
        self.notes = Counter("notes", "Changes made to sequences", ["field", "code"], **common)
        self.residues = Histogram(
            "residues", "Letters per sequence as sent", ["field"], buckets=_TOKEN_BUCKETS, **common
        )
        self.unknown_bases = Counter("unknown_bases", "N among the nucleotides as read", ["field"], **common)
        self.batch_tokens = Histogram("batch_tokens", "Tokens per batch", buckets=_TOKEN_BUCKETS, **common)
        self.batch_transcripts = Histogram(
            "batch_transcripts", "Transcripts per batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256), **common
        )
        self.batch_seconds = Histogram("batch_seconds", "Time per batch", buckets=_SECOND_BUCKETS, **common)
        self.queue_tokens = Gauge("queue_tokens", "Tokens that wait for a batch", multiprocess_mode="livesum", **common)
        self.budget_tokens = Gauge(
            "budget_tokens", "Tokens of one batch, as measured at start", multiprocess_mode="livemax", **common
        )
        self.safe_budget_tokens = Gauge(
            "safe_budget_tokens",
            "Largest budget whose worst batch fits memory and half the deadline, as measured at start",
            multiprocess_mode="livemin",
            **common,
        )
        self.windows = Counter("dna_windows", "DNA windows of batches, by the cache's outcome", ["outcome"], **common)
        self.window_cache_bytes = Gauge(
            "window_cache_bytes", "States of DNA windows that are kept", multiprocess_mode="livesum", **common
        )
        self.reloads = Counter("reloads", "Packages that were to replace the served one", ["outcome"], **common)
        self.drift = Gauge(
            "drift_psi",
            "Population stability index of the last asked transcripts against training",
            ["feature"],
            multiprocess_mode="livemostrecent",
            **common,
        )
        self.observations_lost = Counter(
            "observations_lost", "Answered transcripts that could not be written to the observations folder", **common
        )
        self.ready = Gauge(
            "ready", "1 where the golden predictions were reproduced", multiprocess_mode="livemin", **common
        )

    def observe_batch(self, transcripts: int, tokens: int, seconds: float) -> None:
        """Count one batch."""
        self.batch_transcripts.observe(transcripts)
        self.batch_tokens.observe(tokens)
        self.batch_seconds.observe(seconds)

    def exposition(self) -> tuple[bytes, str]:
        """The metrics of all worker processes as text, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest, multiprocess

        registry = self.registry
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
        return generate_latest(registry), CONTENT_TYPE_LATEST
