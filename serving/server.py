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
from serving.engine import Engine, Predicted, Prepared
from serving.follow import Target, read_target
from serving.keys import read_keys
from serving.loaded import Loaded
from serving.logs import LOGGER, configure_logs
from serving.metrics import Metrics
from serving.observations import Observation, Observations
from serving.profile import PREDICTION
from serving.reference import Reference
from serving.settings import Settings

_log = logging.getLogger(LOGGER)


class Server:
    """Settings, metrics, and once ready the loaded model; until then the reason in `not_ready`.

    `refused`: why the package that should be served is not, while another goes on being served; empty if it is.
    """

    def __init__(self) -> None:
        self.settings = Settings()
        self.loaded: Loaded | None = None
        self.keys: tuple[bytes, ...] = ()
        self.not_ready = "starting"
        self.refused = ""
        self._observations: Observations | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._seen: Target | None = None

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
            self.loaded = await self._load_first()
        except Exception as error:
            self.not_ready = _reason(error)
            _log.error("not ready: %s", self.not_ready, exc_info=not isinstance(error, InputError))
            return
        self._begin(self.loaded)
        if self._observations is not None:
            self._tasks.append(asyncio.create_task(self._flush_observations(self._observations)))
        if self.settings.follow:
            self._tasks.append(asyncio.create_task(self._follow()))
        gc.set_threshold(20_000, 20, 100)
        self.not_ready = ""
        self.metrics.ready.set(1)
        version = self.loaded.engine.about["version"]
        _log.info("ready", extra={"version": version, "threads": self.settings.threads})

    async def stop(self) -> None:
        """Finish what was accepted."""
        self.not_ready = "stopping"
        self.metrics.ready.set(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.loaded is not None:
            await self.loaded.queue.stop()
        if self._observations is not None:
            await run_in_threadpool(self._observations.close)

    def ready_model(self) -> Loaded | None:
        """The loaded model where the server may answer, else None."""
        return None if self.not_ready else self.loaded

    async def reload(self, target: Target) -> bool:
        """Load and prove another package, then let new requests go to it; those under way end with the present one.

        A package that fails is refused: `refused` says why, and nothing changes. True where it is served now.
        """
        previous = self.loaded
        assert previous is not None
        try:
            loaded = await self._load(target.applied(self.settings), budget_tokens=previous.engine.budget_to_hand_on)
        except Exception as error:
            self.refused = f"{target.package}: {_reason(error)}"
            self.metrics.reloads.labels("refused").inc()
            _log.error("refused: %s", self.refused, exc_info=not isinstance(error, InputError))
            return False
        self._begin(loaded)
        self.loaded, self.refused = loaded, ""
        self.metrics.reloads.labels("served").inc()
        _log.info("serving another version", extra={"version": loaded.engine.about["version"]})
        await previous.retire()
        # It was frozen with everything else: without this pass a retired model would stay in memory for good.
        del previous
        _collect_and_freeze()
        return True

    def observe(self, route: str, loaded: Loaded, prepared: Sequence[Prepared], predicted: Sequence[Predicted]) -> None:
        """Remember answered transcripts, for the drift figures of /metrics and, where asked for, for monitoring."""
        engine = loaded.engine
        if loaded.drift is not None:
            for item, answer in zip(prepared, predicted, strict=True):
                loaded.drift.observe({**item.features, PREDICTION: float(answer.log1p_tpm.mean())})
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

    def exposition(self) -> tuple[bytes, str]:
        """/metrics: text and content type."""
        if self.loaded is not None and self.loaded.drift is not None:
            for name, index in self.loaded.drift.indices().items():
                self.metrics.drift.labels(name).set(index)
        return self.metrics.exposition()

    async def _load_first(self) -> Loaded:
        """What the followed file names; where that is refused or missing, the package of the settings."""
        target = None
        try:
            target = self._seen = read_target(self.settings.follow)
            if target is not None:
                return await self._load(target.applied(self.settings))
        except Exception as error:
            self.refused = f"{target.package if target else self.settings.follow}: {_reason(error)}"
            _log.error("refused: %s", self.refused, exc_info=not isinstance(error, InputError))
        return await self._load(self.settings)

    async def _load(self, settings: Settings, budget_tokens: int = 0) -> Loaded:
        """A model that reproduced its golden answers; `budget_tokens` of one that runs, else measured."""
        engine = await run_in_threadpool(Engine, settings)
        await run_in_threadpool(engine.self_test)
        await run_in_threadpool(engine.warm_up, budget_tokens)
        reference = None
        if settings.reference:
            reference = await run_in_threadpool(Reference, Path(settings.reference), engine.config)
        return Loaded(engine, reference, self.metrics)

    def _begin(self, loaded: Loaded) -> None:
        loaded.queue.start()
        self.metrics.budget_tokens.set(loaded.engine.budget_tokens)
        self.metrics.safe_budget_tokens.set(loaded.engine.safe_budget_tokens)
        _collect_and_freeze()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self.settings.follow_seconds)
            try:
                target = await run_in_threadpool(read_target, self.settings.follow)
            except InputError as error:
                self.refused = str(error)
                continue
            if target is not None and target != self._seen:
                self._seen = target
                await self.reload(target)

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


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__} while loading"


def _collect_and_freeze() -> None:
    """What is loaded now stays: keep the collector from walking it at every full pass."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
