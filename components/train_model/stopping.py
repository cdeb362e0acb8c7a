"""The request that a training stop: SIGTERM or Ctrl-C, at any time of a training process's life."""

from __future__ import annotations

import signal
from typing import Any

import torch
import torch.distributed as dist


class Preempted(Exception):  # noqa: N818 - a request, not an error
    """A stop was requested; what was done is on disk."""


class StopRequest:
    """Whether a stop was requested of this rank."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """From now on SIGTERM and Ctrl-C request a stop; a second Ctrl-C ends the process at once."""
        signal.signal(signal.SIGTERM, self._request)
        signal.signal(signal.SIGINT, self._request)

    def end_all(self, device: torch.device) -> None:
        """Raise `Preempted` on every rank where one of them was asked to stop; all ranks must call."""
        asked = torch.tensor([float(self.requested)], device=device)
        if dist.is_initialized():
            dist.all_reduce(asked)
        if asked.item():
            raise Preempted("stopped before the first optimizer step of this start")

    def _request(self, number: int, *_: Any) -> None:
        self.requested = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
