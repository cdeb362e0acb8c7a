"""State of one server process, from start to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from model.errors import InputError
from serving.batching import TokenBudgetQueue
from serving.engine import Engine, Predicted, Prepared
from serving.keys import read_keys
from serving.logs import LOGGER, configure_logs
from serving.metrics import Metrics
from serving.normalize import BadItemError
from serving.observations import Observation, Observations
from serving.profile import PREDICTION, Drift
from serving.reference import Reference
from serving.schema import FieldError
from serving.settings import Settings

_log = logging.getLogger(LOGGER)


class Server:
    """Settings, metrics, and once ready engine, reference and queue; until then the reason in `not_ready`."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.engine: Engine | None = None
        self.reference: Reference | None = None
        self.keys: tuple[bytes, ...] = ()
        self._drift: Drift | None = None
        self._observations: Observations | None = None
        self._flushing: asyncio.Task[None] | None = None
        self.not_ready = "starting"

    @cached_property
    def metrics(self) -> Metrics:
        """Made at first use: not when the module is imported, see `Metrics`."""
        return Metrics()

    async def start(self) -> None:
        """Load, self-test, begin to answer; a failure leaves the process alive but not ready, with the reason."""
        configure_logs()
        self.not_ready = "starting"
        try:
            self.settings = Settings.from_environment()
            self.keys = read_keys(self.settings.api_keys_file)
            if self.settings.observations_dir:
                self._observations = await run_in_threadpool(self._open_observations)
            engine = await run_in_threadpool(Engine, self.settings)
            await run_in_threadpool(engine.self_test)
            await run_in_threadpool(engine.warm_up)
            if self.settings.reference:
                self.reference = await run_in_threadpool(Reference, Path(self.settings.reference), engine.config)
        except Exception as error:
            self.not_ready = str(error) if isinstance(error, InputError) else f"{type(error).__name__} while loading"
            _log.error("not ready: %s", self.not_ready, exc_info=not isinstance(error, InputError))
            return
        self.engine = engine
        self._drift = Drift(engine.profile) if engine.profile else None
        self.queue: TokenBudgetQueue[Predicted] = TokenBudgetQueue(
            engine.predict,
            budget_tokens=engine.budget_tokens,
            queue_tokens=self.settings.queue_tokens,
            observe=self.metrics.observe_batch,
        )
        self.queue.start()
        if self._observations is not None:
            self._flushing = asyncio.create_task(self._flush_observations(self._observations))
        self.metrics.budget_tokens.set(engine.budget_tokens)
        # What is loaded now lives as long as the process: keep the collector from walking it at every full pass.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 100)
        self.not_ready = ""
        self.metrics.ready.set(1)
        _log.info("ready", extra={"version": engine.about["version"], "threads": self.settings.threads})

    async def stop(self) -> None:
        """Finish what was accepted."""
        self.not_ready = "stopping"
        self.metrics.ready.set(0)
        if self.engine is not None:
            await self.queue.stop()
        if self._flushing is not None:
            self._flushing.cancel()
        if self._observations is not None:
            await run_in_threadpool(self._observations.close)

    def ready_engine(self) -> Engine | None:
        """The engine where the server may answer, else None."""
        return None if self.not_ready else self.engine

    def mounted_reference(self, index: int) -> Reference:
        """The reference; `BadItemError` of item `index` where none is mounted."""
        if self.reference is None:
            raise BadItemError([FieldError(item=index, field="id", message="no reference is mounted: send sequences")])
        return self.reference

    def observe(self, route: str, engine: Engine, prepared: Sequence[Prepared], predicted: Sequence[Predicted]) -> None:
        """Remember answered transcripts, for the drift figures of /metrics and, where asked for, for monitoring."""
        for item, answer in zip(prepared, predicted, strict=True):
            if self._drift is not None:
                self._drift.observe({**item.features, PREDICTION: float(answer.log1p_tpm.mean())})
        if self._observations is not None:
            rows = [
                Observation(
                    route=route,
                    modalities=item.modalities,
                    features=item.features,
                    signs=tuple(sign.code for sign in engine.signs(item)),
                    log1p_tpm=answer.log1p_tpm,
                )
                for item, answer in zip(prepared, predicted, strict=True)
            ]
            self._observations.record(engine.about, engine.config.tissues, rows)

    def _open_observations(self) -> Observations:
        settings = self.settings
        return Observations(
            Path(settings.observations_dir),
            block_rows=settings.observations_rows,
            max_bytes=settings.observations_bytes,
            lost=self.metrics.observations_lost.inc,
        )

    async def _flush_observations(self, observations: Observations) -> None:
        while True:
            await asyncio.sleep(self.settings.observations_seconds)
            observations.flush()

    def exposition(self) -> tuple[bytes, str]:
        """/metrics: text and content type."""
        if self._drift is not None:
            for name, index in self._drift.indices().items():
                self.metrics.drift.labels(name).set(index)
        return self.metrics.exposition()
