"""Running what is missing of a suite: trials in processes of their own, as many at a time as the machine bears."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from components.children import OWNER_VARIABLE
from components.experiments.records import Plan, PlannedTrial
from components.harness import EXIT_STOPPED, THREADING, StepRefusedError, StepStoppedError
from pipelines.experiments.trial import THREADS_VARIABLE

_LOOK_EVERY_S = 0.2
_LOG_TAIL_LINES = 15


@dataclass
class _Running:
    trial: PlannedTrial
    process: subprocess.Popen[bytes]
    log: IO[bytes]


@dataclass
class SuiteRun:
    """The trials of a suite on their way.

    `jobs` at a time, `threads` each. `price_per_hour` of the machine, in any currency, makes estimates of cost.
    """

    plan: Plan
    jobs: int
    threads: int
    price_per_hour: float | None = None
    _running: list[_Running] = field(default_factory=list)
    _failed: list[PlannedTrial] = field(default_factory=list)
    _refused: list[PlannedTrial] = field(default_factory=list)
    _stopping: bool = False

    def run(self) -> None:
        """Run what is missing.

        SIGTERM and Ctrl-C stop the running trials, which save their state: `StepStoppedError`. Where a trial refuses
        its input no other is begun: `StepRefusedError`. Other failures do not keep the rest from running:
        `RuntimeError` at the end.
        """
        waiting = self.plan.missing
        total = len(self.plan.trials)
        self._say(f"{total - len(waiting)} of {total} trials done already; {self.jobs} at a time")
        with self._stoppable():
            while waiting or self._running:
                while waiting and len(self._running) < self.jobs and not (self._stopping or self._refused):
                    self._start(waiting.pop(0))
                if not self._running:
                    break
                self._collect()
                time.sleep(_LOOK_EVERY_S)
        self._raise_for_outcome()

    def _start(self, trial: PlannedTrial) -> None:
        environment = {
            **THREADING,
            **os.environ,
            OWNER_VARIABLE: str(os.getpid()),
            THREADS_VARIABLE: str(self.threads),
            "PYTHONSAFEPATH": "1",
        }
        log = trial.log.open("ab")
        command = [sys.executable, "-m", "pipelines.experiments.trial", str(trial.folder.absolute())]
        # A group of its own: Ctrl-C at the terminal reaches it through us, once.
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        self._running.append(_Running(trial, process, log))

    def _collect(self) -> None:
        for item in list(self._running):
            status = item.process.poll()
            if status is None:
                continue
            self._running.remove(item)
            item.log.close()
            self._note(item.trial, status)

    def _note(self, trial: PlannedTrial, status: int) -> None:
        name = f"{trial.configuration}, seed {trial.seed}"
        if status == 0 and trial.done:
            done = len(self.plan.trials) - len(self.plan.missing)
            self._say(
                f"{done} of {len(self.plan.trials)} trials; {name}: R² {_r2(trial)} in {trial.seconds():.0f} s"
                f"{self._estimate()}"
            )
        elif self._stopping or status == EXIT_STOPPED:
            self._stopping = True
            self._say(f"stopped: {name}")
        else:
            (self._refused if status == 2 else self._failed).append(trial)
            self._say(f"FAILED with status {status}: {name}; {trial.log} ends with\n{_tail(trial.log)}")

    def _estimate(self) -> str:
        """Time and cost of what is left, from trials of the same configuration, or of any where there is none."""
        seconds = estimated_seconds(self.plan) / self.jobs
        if not seconds:
            return ""
        cost = f", about {seconds / 3600 * self.price_per_hour:.2f} to pay" if self.price_per_hour else ""
        return f"; about {seconds / 60:.0f} min left{cost}"

    @contextlib.contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Hand SIGTERM and Ctrl-C on to the trials."""

        def stop(number: int, frame: FrameType | None) -> None:
            self._stopping = True
            for item in self._running:
                item.process.terminate()

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _raise_for_outcome(self) -> None:
        if self._stopping and self.plan.missing:
            raise StepStoppedError(
                f"suite {self.plan.suite} was stopped with {len(self.plan.missing)} of {len(self.plan.trials)} trials "
                "to do; the same command goes on from there."
            )
        if self._refused:
            trial = self._refused[0]
            raise StepRefusedError(f"{trial.configuration}, seed {trial.seed}: {_tail(trial.log, 1)}")
        if self._failed:
            names = ", ".join(f"{trial.configuration} seed {trial.seed}" for trial in self._failed)
            raise RuntimeError(f"{len(self._failed)} trials failed: {names}; see log.txt in their folders")

    def _say(self, text: str) -> None:
        print(f"{self.plan.suite}: {text}", file=sys.stderr, flush=True)


def estimated_seconds(plan: Plan) -> float:
    """Seconds of one trial after the other that the missing ones will take; 0 before any is done."""
    known: dict[str, list[float]] = {}
    for trial in plan.trials:
        seconds = trial.seconds() if trial.done else None
        if seconds is not None:
            known.setdefault(trial.configuration, []).append(seconds)
    everything = [value for values in known.values() for value in values]
    if not everything:
        return 0.0
    estimates = [known.get(trial.configuration, everything) for trial in plan.missing]
    return sum(sum(values) / len(values) for values in estimates)


def _r2(trial: PlannedTrial) -> str:
    metrics = json.loads((trial.evaluation / "payload" / "metrics.json").read_text(encoding="utf-8"))
    value = metrics["model"]["r2"]["value"]
    return "n/a" if value is None else f"{value:.3f}"


def _tail(log: Path, lines: int = _LOG_TAIL_LINES) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
