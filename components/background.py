"""Work beside that of this process, in a thread or in forked processes; results come back in order.

A forked process sees what this one has read without a copy. Forking is safe only while no other thread runs, and does
not exist everywhere: where it cannot be done, the same work is done here, with the same results.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

T = TypeVar("T")
_ITEM, _END, _ERROR = range(3)


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, none of them None, each made in a thread while the one before is used."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, items, None)
            yield item


def can_fork() -> bool:
    """Whether this process may fork now: it has one thread, and may have children."""
    return (
        "fork" in multiprocessing.get_all_start_methods()
        and threading.active_count() == 1
        and not multiprocessing.current_process().daemon
    )


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ForkedItems(Generic[T]):
    """What `make()` yields, made in a forked process that starts at once.

    An exception of `make` is raised here when its turn comes. A context manager: leaving it ends the process.
    """

    def __init__(self, make: Callable[[], Iterable[T]]) -> None:
        context = multiprocessing.get_context("fork")
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_send_items, args=(self._receiver, sender, make), daemon=True)
        self._process.start()
        sender.close()

    def __enter__(self) -> ForkedItems[T]:
        return self

    def __exit__(self, *exception: object) -> None:
        self._receiver.close()
        if self._process.is_alive():
            self._process.terminate()
        self._process.join()
        self._process.close()

    def __iter__(self) -> Iterator[T]:
        while True:
            try:
                kind, item = self._receiver.recv()
            except EOFError:
                self._process.join()
                raise RuntimeError(f"a worker process ended with status {self._process.exitcode}") from None
            if kind == _END:
                return
            if kind == _ERROR:
                raise item
            yield item


def _send_items(receiver: Connection, sender: Connection, make: Callable[[], Iterable[Any]]) -> None:
    receiver.close()
    try:
        for item in make():
            sender.send((_ITEM, item))
        sender.send((_END, None))
    except BrokenPipeError:
        return
    except Exception as error:
        sender.send((_ERROR, error))


def iterate_forked(make: Callable[[], Iterable[T]]) -> Iterator[T]:
    """What `make()` yields, none of it None, made in a forked process where that can be done, else in a thread."""
    if not can_fork():
        yield from ahead(iter(make()))
        return
    with ForkedItems(make) as items:
        yield from ahead(iter(items))


@contextmanager
def started(function: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Start `function()` in a forked process where that can be done; what is yielded gives its result when called."""
    if not can_fork():
        yield function
        return
    with ForkedItems(lambda: [function()]) as items:
        yield lambda: next(iter(items))


def map_forked(function: Callable[[T], Any], arguments: Sequence[T], processes: int) -> list[Any]:
    """[function(argument) …], shared out over forked processes where that can be done."""
    if processes < 2 or len(arguments) < 2 or not can_fork():
        return [function(argument) for argument in arguments]
    shares = [range(first, len(arguments), processes) for first in range(min(processes, len(arguments)))]
    results: list[Any] = [None] * len(arguments)
    with ExitStack() as stack:
        workers = []
        for share in shares:
            items = ((index, function(arguments[index])) for index in share)
            workers.append(stack.enter_context(ForkedItems(lambda items=items: items)))
        for worker in workers:
            for index, result in worker:
                results[index] = result
    return results
