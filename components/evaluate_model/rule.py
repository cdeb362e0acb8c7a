"""One rule of a verdict."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """A rule's outcome. `threshold` is what `value` was held against; `sentence` tells it to a person."""

    name: str
    value: float
    threshold: float
    passed: bool
    sentence: str
