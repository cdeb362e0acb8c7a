"""Notes that the steps of one pipeline run leave for its summary: what began, how it ended, and why.

They lie below the work root, which all pods of a run share where it is a claim: one file of JSON lines per step, a line
per event, so that a retried step shows each of its attempts. They decide nothing: a run goes on where none can be kept.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

# Set by the local runner, and on a cluster from the pod's own label: no parameter, which would defeat the cache.
RUN_VARIABLE = "ISOFORMER_RUN"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

State = Literal["begun", "done", "refused", "stopped", "failed"]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try of a step: when it began (seconds since 1970), how long it took, how it ended and why.

    `state` is "begun" where nothing was heard of its end: the process or its machine was killed.
    """

    step: str
    began: float
    seconds: float | None = None
    state: State = "begun"
    reason: str = ""
    facts: Mapping[str, Any] | None = None


def folder_of(work_root: Path, run: str) -> Path | None:
    """Where the notes of a run lie; None where the run has no usable name."""
    return work_root / "runs" / run if _NAME.fullmatch(run) else None


def note(work_root: Path, step: str, state: State, *, reason: str = "", facts: Mapping[str, Any] | None = None) -> None:
    """Add an event of a step of the run that `RUN_VARIABLE` names; says so on standard error where it cannot."""
    folder = folder_of(work_root, os.environ.get(RUN_VARIABLE, ""))
    if folder is None:
        return
    event = {"step": step, "state": state, "time": round(time.time(), 3), "reason": reason, "facts": dict(facts or {})}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{step}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, sort_keys=True) + "\n")
    except OSError as error:
        print(f"{step}: the run's summary will lack this step: {error}", file=sys.stderr)


def attempts_of(folder: Path) -> list[Attempt]:
    """All attempts of the steps of a run in the order of their begin; a line that was cut by a crash is passed over."""
    found: list[Attempt] = []
    for path in sorted(folder.glob("*.jsonl")):
        found += _paired(path.stem, _events(path))
    return sorted(found, key=lambda item: item.began)


def _events(path: Path) -> list[dict[str, Any]]:
    events = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events


def _paired(step: str, events: Sequence[Mapping[str, Any]]) -> list[Attempt]:
    attempts: list[Attempt] = []
    for event in events:
        if event["state"] == "begun":
            attempts.append(Attempt(step=step, began=event["time"]))
        elif attempts and attempts[-1].state == "begun":
            attempts[-1] = Attempt(
                step=step,
                began=attempts[-1].began,
                seconds=round(event["time"] - attempts[-1].began, 1),
                state=event["state"],
                reason=event["reason"],
                facts=event["facts"],
            )
    return attempts
