"""A pipeline on this machine, by kfp's own local runner: its noise in a file, our progress on screen."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from components.artifacts import MANIFEST
from components.children import OWNER_VARIABLE, StoppedError, handing_on_sigterm
from components.harness import StepRefusedError, StepStoppedError
from components.kubeflow import BEGIN, END, REFUSED, STOPPED
from components.params import Params
from components.raw_data import find_raw_data, find_sequences
from components.run_notes import RUN_VARIABLE
from model.errors import InputError
from pipelines.containers import Images, container_runner
from pipelines.graphs import build, known
from pipelines.policy import Cluster

LOG = "pipeline.log"
# Pages of the exit handler: name of the artifact, name of the link beside the log.
_SUMMARY = {"summary": "summary.md", "page": "summary.html"}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_LOG_TAIL_LINES = 40


class StepFailedError(RuntimeError):
    """A step ended with an error that is not the user's; the message holds the end of the log."""


@dataclass(frozen=True)
class LocalRun:
    """What a local run left: folders of its artifacts by output name, its log, seconds per step."""

    artifacts: dict[str, Path]
    log: Path
    seconds: dict[str, float]
    summary: Path


def run_locally(
    params: Params,
    *,
    data: Path,
    out: Path,
    work: Path,
    registry: str,
    pipeline: str = "training",
    arguments: Mapping[str, str] | None = None,
    retries: int = 0,
    images: Images | None = None,
) -> LocalRun:
    """Run a pipeline with everything below `out`, which must be empty or absent; a failed step `retries` times more.

    `arguments`: further ones of the pipeline; those that end in `_uri` are folders of this machine.

    Steps are processes of this machine's Python, or with `images` containers. SIGTERM reaches the running step, which
    saves where it stands. Raises `InputError` where a raw file is missing or `out` is taken, `StepRefusedError` where a
    step refuses its input, `StepStoppedError` where one was stopped, `StepFailedError` where one fails otherwise. The
    run's summary lies in `out` in each of these cases.
    """
    from kfp import local

    steps = known(pipeline).steps
    given = {name: _local_folder(name, value) for name, value in (arguments or {}).items()}
    # Refused here at once, and not by a step after the start of its process.
    if pipeline == "prediction":
        named = {"variants": given["variants"]} if given.get("variants") else {}
        find_sequences(data, params.data.model_copy(update=named))
    else:
        find_raw_data(data, params.data)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            where=str(out), expected="an empty or absent folder", found="other files", fix="Choose another --out."
        )
    out.mkdir(parents=True, exist_ok=True)
    # Steps run in processes that know nothing of this one's folder.
    place = registry if "://" in registry else str(Path(registry).resolve())
    whole = {"data_uri": str(data.resolve()), "params": params.to_json(), "work_root": str(work.resolve()), **given}
    if pipeline != "experiments":
        whole["registry"] = place
    log = out / LOG
    with log.open("w", encoding="utf-8") as file, handing_on_sigterm() as stopping:
        narrator = _Narrator(file, sys.stderr, steps)
        try:
            with _listening(narrator), _environment(work, out.name), _runner(images, whole, out) as runner:
                local.init(runner, pipeline_root=str((out / "kfp").resolve()))
                cluster = Cluster(retries=retries, retry_after="1s")
                if images:
                    cluster = replace(cluster, images=images.prefix, tag=images.tag)
                build(pipeline, cluster, whole["params"])(**whole)
        except (RuntimeError, StoppedError):
            if narrator.refused:
                raise StepRefusedError(narrator.refused) from None
            if narrator.stopped or stopping.is_set():
                reason = narrator.stopped or "stopped by SIGTERM; the same command with another --out starts anew"
                raise StepStoppedError(reason) from None
            tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-_LOG_TAIL_LINES:])
            raise StepFailedError(f"{tail}\nThe whole log: {log}") from None
        finally:
            links = _named(out)
    return LocalRun(artifacts=links, log=log, seconds=narrator.seconds, summary=out / _SUMMARY["summary"])


@contextlib.contextmanager
def _runner(images: Images | None, arguments: Mapping[str, str], out: Path) -> Iterator[Any]:
    from kfp import local

    if images is None:
        yield local.SubprocessRunner(use_venv=False)
        return
    registry = arguments.get("registry", "")
    kept = [arguments["work_root"]] + ([] if not registry or "://" in registry else [registry])
    writable = [(out / "kfp").resolve(), *map(Path, kept)]
    with container_runner(writable, [Path(arguments[name]) for name in arguments if name.endswith("_uri")]) as runner:
        yield runner


def _local_folder(name: str, value: str) -> str:
    if not name.endswith("_uri"):
        return value
    if not Path(value).is_dir():
        raise InputError(where=name, expected="a folder", found=value, fix="Check the path.")
    return str(Path(value).resolve())


def _named(out: Path) -> dict[str, Path]:
    """Links to the artifacts by output name, straight below `out`: kfp's own folders have long names with a clock."""
    links = {}
    for path in sorted((out / "kfp").glob(f"*/*/*/{MANIFEST}")):
        name = path.parent.name
        # Trials of a suite all bear one name: they stay where they are.
        if name not in links:
            links[name] = out / name
            links[name].symlink_to(path.parent.relative_to(out))
    for name, link in _SUMMARY.items():
        for path in (out / "kfp").glob(f"*/summarise-run/{name}"):
            (out / link).symlink_to(path.relative_to(out))
    return links


def next_folder(parent: Path, name: str) -> Path:
    """Make and return the first free of `parent`/`name`-1, -2, …; two callers never get the same."""
    for number in itertools.count(1):
        folder = parent / f"{name}-{number}"
        parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("unreachable")


class _Narrator(io.TextIOBase):
    """Takes all that kfp prints; keeps it in a file and tells of the steps, between their begin and end, on screen."""

    def __init__(self, file: TextIO, screen: TextIO, steps: Sequence[str]) -> None:
        self._file, self._screen, self._steps = file, screen, list(steps)
        self._rest = ""
        self._step = ""
        self._started = 0.0
        self.refused = ""
        self.stopped = ""
        self.seconds: dict[str, float] = {}

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._take(_COLOURS.sub("", line).rstrip())
        return len(text)

    def flush(self) -> None:
        self._file.flush()

    def _take(self, line: str) -> None:
        self._file.write(line + "\n")
        # kfp indents what steps print.
        words = line.strip()
        if words.startswith(BEGIN):
            self._step, self._started = words.removeprefix(BEGIN), time.monotonic()
            position = self._steps.index(self._step) + 1 if self._step in self._steps else "·"
            self._say(f"[{position}/{len(self._steps)}] {self._step}")
        elif words.startswith(END):
            self.seconds[self._step] = round(time.monotonic() - self._started, 2)
            self._step = ""
        elif words.startswith(REFUSED):
            self.refused = words.removeprefix(REFUSED)
        elif words.startswith(STOPPED):
            self.stopped = words.removeprefix(STOPPED)
        elif self._step and words:
            done = re.fullmatch(rf"{self._step}: wrote .* in (\S+ s)", words)
            self._say(f"      done in {done[1]}" if done else f"      {words}")

    def _say(self, text: str) -> None:
        self._screen.write(text + "\n")
        self._screen.flush()
        self._file.flush()


@contextlib.contextmanager
def _environment(work: Path, name: str) -> Iterator[None]:
    """What the steps' processes inherit: the run's name for its notes, whose death ends them, no current folder."""
    notes = next_folder(work.resolve() / "runs", name)
    added = {RUN_VARIABLE: notes.name, OWNER_VARIABLE: str(os.getpid()), "PYTHONSAFEPATH": "1"}
    before = {key: os.environ.get(key) for key in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


@contextlib.contextmanager
def _listening(narrator: _Narrator) -> Iterator[None]:
    """Send what kfp prints to the narrator."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(narrator):
            # kfp warns at every step that a local run knows no limits, and of images without "python" in their names.
            warnings.filterwarnings("ignore", module=r"kfp\.local")
            yield
    finally:
        narrator.flush()
