"""States of DNA windows that were encoded before, least recently used first out. numpy only.

Isoforms of one gene share windows, and come together; a window's states depend on nothing else in a batch.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np


class WindowCache:
    """States (Q, D) of windows by their content, of at most `max_bytes` together; 0 keeps nothing.

    `hits` and `misses` count the windows that were asked for. For one thread.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self._states: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def get(self, window: np.ndarray) -> np.ndarray | None:
        """The states of a window (codes or tokens), None where they are not kept."""
        key = _key(window)
        found = self._states.get(key)
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
            self._states.move_to_end(key)
        return found

    def put(self, window: np.ndarray, states: np.ndarray) -> None:
        """Keep the states of a window, unless they alone are too large."""
        if states.nbytes > self.max_bytes:
            return
        key = _key(window)
        self.bytes += states.nbytes - (self._states[key].nbytes if key in self._states else 0)
        self._states[key] = states
        self._states.move_to_end(key)
        while self.bytes > self.max_bytes:
            self.bytes -= self._states.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Forget all states; the counts stay."""
        self._states.clear()
        self.bytes = 0


def _key(window: np.ndarray) -> bytes:
    # 128 bits that cannot be forged: a client must not be answered with another's window.
    return hashlib.blake2b(window.tobytes(), digest_size=16).digest()
