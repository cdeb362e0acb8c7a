"""The cache of window states: bounded in bytes, least recently used first out."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.window_cache import WindowCache


def window(number: int) -> np.ndarray:
    return np.full(8, number, dtype=np.uint8)


def states(number: int) -> np.ndarray:
    return np.full((2, 4), number, dtype=np.float32)


def test_the_least_recently_used_goes_first() -> None:
    cache = WindowCache(2 * states(0).nbytes)
    cache.put(window(1), states(1))
    cache.put(window(2), states(2))
    assert cache.get(window(1)) is not None
    cache.put(window(3), states(3))
    assert cache.get(window(2)) is None
    assert [float(cache.get(window(number))[0, 0]) for number in (1, 3)] == [1.0, 3.0]  # type: ignore[index]
    assert (cache.hits, cache.misses) == (3, 1)


def test_states_larger_than_the_bound_are_not_kept() -> None:
    cache = WindowCache(states(0).nbytes - 1)
    cache.put(window(1), states(1))
    assert (len(cache), cache.bytes) == (0, 0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(1, 5)), max_size=60))
def test_it_is_never_larger_than_its_bound_and_never_answers_wrongly(actions: list[tuple[bool, int, int]]) -> None:
    cache = WindowCache(300)
    written: dict[int, np.ndarray] = {}
    for put, number, rows in actions:
        if put:
            written[number] = np.full((rows, 8), number, dtype=np.float32)
            cache.put(window(number), written[number])
        elif (found := cache.get(window(number))) is not None:
            np.testing.assert_array_equal(found, written[number])
        assert cache.bytes <= 300
        assert cache.bytes == sum(found.nbytes for found in cache._states.values())
