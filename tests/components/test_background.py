"""Work in forked processes: same results in the same order, errors told, no process left."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from components.background import ForkedItems, ahead, can_fork, iterate_forked, map_forked, started
from model.errors import InputError


def numbers_with_error() -> Iterator[int]:
    """Two items, then the project's error."""
    yield from (1, 2)
    raise InputError(where="file, line 3", expected="a number", found="'x'", fix="Correct it.")


@pytest.mark.parametrize("iterate", [iterate_forked, lambda make: ahead(iter(make()))])
def test_error_is_raised_in_its_turn(iterate: object) -> None:
    """After the items before it, with all that it says."""
    items = iterate(numbers_with_error)  # type: ignore[operator]
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(InputError, match="file, line 3: expected a number, found 'x'"):
        next(items)
    assert not multiprocessing.active_children()


def test_worker_that_is_killed_is_an_error_not_an_end() -> None:
    """As when the machine runs out of memory: what is missing is not taken for what there is."""

    def make() -> Iterator[int]:
        yield 1
        os.kill(os.getpid(), signal.SIGKILL)

    # Never `iterate_forked`: beside a thread that another test left it would run, and be killed, in this process.
    with pytest.raises(RuntimeError, match="ended with status -9"), ForkedItems(make) as items:
        list(items)
    assert not multiprocessing.active_children()


def test_iteration_that_is_left_ends_the_process() -> None:
    """However much there was still to come."""
    items = iterate_forked(lambda: (np.zeros(100_000) for _ in range(10_000)))
    assert len(next(items)) == 100_000
    items.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_shares_come_back_in_order(processes: int) -> None:
    """Whatever their number."""
    assert map_forked(lambda value: value * value, range(7), processes) == [0, 1, 4, 9, 16, 25, 36]
    with pytest.raises(ZeroDivisionError):
        map_forked(lambda value: 1 // value, [1, 0, 1], processes)
    assert not multiprocessing.active_children()


def test_what_was_started_gives_its_result() -> None:
    """In another process where that can be done."""
    with started(os.getpid) as result:
        assert (result() != os.getpid()) == can_fork()


def test_nothing_is_forked_beside_another_thread() -> None:
    """Which might hold a lock; the work is done here, with the same results."""
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        assert not can_fork()
        assert map_forked(lambda value: (value, os.getpid()), [1, 2], 2) == [(1, os.getpid()), (2, os.getpid())]
        assert list(iterate_forked(lambda: iter([1, 2]))) == [1, 2]
    finally:
        release.set()
        thread.join()


def test_forked_process_does_not_outlive_an_error_here() -> None:
    """Leaving the context for whatever reason."""
    with contextlib.suppress(KeyError), ForkedItems(lambda: iter(lambda: 1, 2)) as items:
        assert next(iter(items)) == 1
        raise KeyError
    assert not multiprocessing.active_children()
