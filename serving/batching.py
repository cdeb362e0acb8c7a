"""A bounded queue that is emptied in batches of a token budget, oldest first."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from model.batch import TranscriptInput

Answer = TypeVar("Answer")

# Weight of the newest batch in the running estimate of tokens per second.
_RATE_WEIGHT = 0.2
_MAX_RETRY_AFTER_S = 60


class OverloadedError(Exception):
    """The queue is full; try again after `retry_after_s` seconds."""

    def __init__(self, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"queue full, retry after {retry_after_s} s")


class StoppingError(Exception):
    """The server is shutting down and takes no new work."""


@dataclass(frozen=True, eq=False)
class _Waiting(Generic[Answer]):
    transcript: TranscriptInput
    tokens: int
    answer: asyncio.Future[Answer]


class TokenBudgetQueue(Generic[Answer]):
    """Merges the transcripts of many requests into batches of at most `budget_tokens` and runs them one at a time.

    `run` maps transcripts to answers in their order; it is called in one worker thread, so the event loop
    stays free. `observe` is told (transcripts, tokens, seconds) of each batch. At most `queue_tokens` may wait; a
    request alone in the queue is taken whatever its size, or it could never be answered.
    """

    def __init__(
        self,
        run: Callable[[Sequence[TranscriptInput]], Sequence[Answer]],
        *,
        budget_tokens: int,
        queue_tokens: int,
        observe: Callable[[int, int, float], None] = lambda transcripts, tokens, seconds: None,
    ) -> None:
        self._run = run
        self._budget_tokens = budget_tokens
        self._queue_tokens = queue_tokens
        self._observe = observe
        self._waiting: deque[_Waiting[Answer]] = deque()
        self._waiting_tokens = 0
        self._tokens_per_s = 0.0
        self._wake = asyncio.Event()
        self._stopping = False
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting_tokens(self) -> int:
        """Tokens that wait; those of the running batch are not counted."""
        return self._waiting_tokens

    def start(self) -> None:
        """Begin to empty the queue; call in a running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._serve())

    async def stop(self) -> None:
        """Refuse new work, finish what was accepted, and end the worker."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
        self._worker.shutdown()

    async def submit(self, transcripts: Sequence[TranscriptInput], tokens: Sequence[int]) -> list[Answer]:
        """Answers of the transcripts, in their order; see `enqueue`."""
        return await self.enqueue(transcripts, tokens)

    def enqueue(self, transcripts: Sequence[TranscriptInput], tokens: Sequence[int]) -> asyncio.Future[list[Answer]]:
        """The answers of the transcripts to come, in their order.

        Raises `OverloadedError` where the queue is full, `StoppingError` during shutdown. Cancelling drops what waits.
        """
        if self._stopping:
            raise StoppingError
        total = sum(tokens)
        if self._waiting and self._waiting_tokens + total > self._queue_tokens:
            raise OverloadedError(self._retry_after_s())
        loop = asyncio.get_running_loop()
        futures = []
        for transcript, cost in zip(transcripts, tokens, strict=True):
            futures.append(loop.create_future())
            self._waiting.append(_Waiting(transcript, cost, futures[-1]))
        self._waiting_tokens += total
        self._wake.set()
        return asyncio.gather(*futures)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = self._next_batch()
            if not batch:
                if self._stopping:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            await loop.run_in_executor(self._worker, self._run_and_settle, batch, loop)

    def _run_and_settle(self, batch: list[_Waiting[Answer]], loop: asyncio.AbstractEventLoop) -> None:
        started = time.perf_counter()
        answers = self._run_batch(batch)
        # From here straight to the futures: who waits for them need not wait for `_serve` to wake up first.
        loop.call_soon_threadsafe(self._settle, batch, answers, time.perf_counter() - started)

    def _settle(self, batch: list[_Waiting[Answer]], answers: list[Answer | Exception], seconds: float) -> None:
        for item, answer in zip(batch, answers, strict=True):
            if item.answer.done():
                continue
            if isinstance(answer, Exception):
                item.answer.set_exception(answer)
            else:
                item.answer.set_result(answer)
        # Before those who wait run on: who has an answer finds its batch in the metrics.
        self._account(batch, seconds)

    def _next_batch(self) -> list[_Waiting[Answer]]:
        """The oldest transcripts that fit the budget, at least one; work of vanished clients is dropped."""
        batch: list[_Waiting[Answer]] = []
        used = 0
        while self._waiting:
            item = self._waiting[0]
            if not item.answer.done() and batch and used + item.tokens > self._budget_tokens:
                break
            self._waiting.popleft()
            self._waiting_tokens -= item.tokens
            if not item.answer.done():
                batch.append(item)
                used += item.tokens
        return batch

    def _run_batch(self, batch: list[_Waiting[Answer]]) -> list[Answer | Exception]:
        """Run a batch; where it fails, run its transcripts alone, so that one cannot spoil the others."""
        try:
            return list(self._run([item.transcript for item in batch]))
        except Exception as error:
            if len(batch) == 1:
                return [error]
        return [answer for item in batch for answer in self._run_batch([item])]

    def _account(self, batch: list[_Waiting[Answer]], seconds: float) -> None:
        tokens = sum(item.tokens for item in batch)
        rate = tokens / max(seconds, 1e-6)
        self._tokens_per_s = _RATE_WEIGHT * rate + (1 - _RATE_WEIGHT) * (self._tokens_per_s or rate)
        self._observe(len(batch), tokens, seconds)

    def _retry_after_s(self) -> int:
        seconds = self._waiting_tokens / self._tokens_per_s if self._tokens_per_s else 1.0
        return min(max(math.ceil(seconds), 1), _MAX_RETRY_AFTER_S)
