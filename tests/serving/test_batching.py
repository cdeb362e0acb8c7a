"""The queue: token budget, oldest first, bounded, and one bad transcript harms itself only."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from model.batch import TranscriptInput
from serving.batching import OverloadedError, StoppingError, TokenBudgetQueue


class Recorder:
    """A model that answers each transcript with its RNA and keeps the batches; "bad" fails."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, transcripts: Sequence[TranscriptInput]) -> list[str]:
        names = [item.rna or "" for item in transcripts]
        self.batches.append(names)
        if "bad" in names:
            raise ArithmeticError("bad")
        return names


def queue_of(model: Recorder, *, budget: int = 10, bound: int = 100) -> TokenBudgetQueue[str]:
    return TokenBudgetQueue(model, budget_tokens=budget, queue_tokens=bound)


def ask(queue: TokenBudgetQueue[str], *names: str, tokens: int = 4) -> asyncio.Task[list[str]]:
    items = [TranscriptInput(rna=name) for name in names]
    return asyncio.ensure_future(queue.submit(items, [tokens] * len(items)))


def test_batches_hold_the_oldest_transcripts_that_fit_the_budget() -> None:
    async def scenario() -> None:
        model = Recorder()
        queue = queue_of(model)
        tasks = [ask(queue, "a", "b", "c"), ask(queue, "d"), ask(queue, "big", tokens=50), ask(queue, "e")]
        await asyncio.sleep(0)
        queue.start()
        assert await asyncio.gather(*tasks) == [["a", "b", "c"], ["d"], ["big"], ["e"]]
        assert model.batches == [["a", "b"], ["c", "d"], ["big"], ["e"]]
        await queue.stop()

    asyncio.run(scenario())


def test_a_full_queue_refuses_and_keeps_what_it_accepted() -> None:
    async def scenario() -> None:
        queue = queue_of(Recorder(), bound=10)
        accepted = ask(queue, "a", "b")
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as caught:
            await ask(queue, "c")
        assert caught.value.retry_after_s >= 1
        queue.start()
        assert await accepted == ["a", "b"]
        assert await ask(queue, *"abcdef") == list("abcdef"), "a request alone is taken whatever its size"
        await queue.stop()

    asyncio.run(scenario())


def test_work_of_vanished_clients_is_dropped() -> None:
    async def scenario() -> None:
        model = Recorder()
        queue = queue_of(model)
        gone, stays = ask(queue, "gone"), ask(queue, "stays")
        await asyncio.sleep(0)
        gone.cancel()
        queue.start()
        assert await stays == ["stays"]
        await queue.stop()
        assert model.batches == [["stays"]]
        assert queue.waiting_tokens == 0

    asyncio.run(scenario())


def test_a_transcript_that_fails_does_not_spoil_its_batch() -> None:
    async def scenario() -> None:
        queue = queue_of(Recorder())
        bad, good = ask(queue, "bad"), ask(queue, "good")
        await asyncio.sleep(0)
        queue.start()
        assert await good == ["good"]
        with pytest.raises(ArithmeticError):
            await bad
        await queue.stop()

    asyncio.run(scenario())


def test_stopping_finishes_what_was_accepted_and_takes_no_more() -> None:
    async def scenario() -> None:
        queue = queue_of(Recorder())
        accepted = [ask(queue, str(number)) for number in range(20)]
        await asyncio.sleep(0)
        queue.start()
        stopping = asyncio.ensure_future(queue.stop())
        await asyncio.sleep(0)
        with pytest.raises(StoppingError):
            await queue.submit([TranscriptInput(rna="late")], [1])
        assert await asyncio.gather(*accepted) == [[str(number)] for number in range(20)]
        await stopping

    asyncio.run(scenario())
