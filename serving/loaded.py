"""One loaded model at work: its engine, its queue, the reference that fits it, and the requests that it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from serving.batching import TokenBudgetQueue
from serving.engine import Engine, Predicted
from serving.metrics import Metrics
from serving.normalize import BadItemError
from serving.profile import Drift
from serving.reference import Reference
from serving.schema import FieldError


class Loaded:
    """A model that answers. A request keeps to one from its first line to its answer, whatever is loaded meanwhile."""

    def __init__(self, engine: Engine, reference: Reference | None, metrics: Metrics) -> None:
        self.engine = engine
        self.reference = reference
        self.drift = Drift(engine.profile) if engine.profile else None
        self.queue: TokenBudgetQueue[Predicted] = TokenBudgetQueue(
            engine.predict,
            budget_tokens=engine.budget_tokens,
            queue_tokens=engine.settings.queue_tokens,
            observe=self._observe_batch,
        )
        self._metrics = metrics
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()
        self._counted = engine.cache_counts()

    @contextmanager
    def used(self) -> Iterator[Loaded]:
        """Count a request while the block runs."""
        self._users += 1
        self._unused.clear()
        try:
            yield self
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def retire(self) -> None:
        """Wait until no request uses it, then end its queue; no new request may come."""
        await self._unused.wait()
        await self.queue.stop()

    def mounted_reference(self, index: int) -> Reference:
        """The reference; `BadItemError` of item `index` where none is mounted."""
        if self.reference is None:
            raise BadItemError([FieldError(item=index, field="id", message="no reference is mounted: send sequences")])
        return self.reference

    def _observe_batch(self, transcripts: int, tokens: int, seconds: float) -> None:
        self._metrics.observe_batch(transcripts, tokens, seconds)
        counts = self.engine.cache_counts()
        for outcome, before, now in zip(("hit", "miss"), self._counted, counts, strict=True):
            self._metrics.windows.labels(outcome).inc(now - before)
        self._counted = counts
        self._metrics.window_cache_bytes.set(self.engine.cache_bytes)
