"""Running one step the same way from every door: command line, DVC and Kubeflow."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from components.artifacts import AlreadyComplete, door
from components.params import Params
from model.errors import InputError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


# Read by libgomp when torch or scikit-learn load it. By default its threads spin for long before they sleep: where
# other work shares the cores, they wait for threads that do not run, and a training step takes over 80 times as long.
THREADING = {"GOMP_SPINCOUNT": "1000"}

# The status of a step that was asked to stop and can go on (EX_TEMPFAIL: a scheduler may try again).
EXIT_STOPPED = 75
# Seconds that a stopped training may take to save its state, unless its surroundings grant it less.
GRACE_S = 300


class StepStoppedError(Exception):
    """A step was asked to stop (SIGTERM) and saved where it stands; the same command goes on from there."""


class StepRefusedError(Exception):
    """A step in another process refused its input; the text is the line by which it said so."""


class UnavailableError(Exception):
    """Another service did not answer or refused; the text is one line that says which and why."""


def run_step(
    name: str, *, inputs: Mapping[str, Path], params: Params, out: Path, work: Path, through: str = "cli"
) -> None:
    """Run `components.<name>.step.run` and say on standard error what came of it.

    An output that is there already, whole and of the same inputs and parameters, is success. Errors pass through;
    see `reason_of` for those that a user can mend.
    """
    for variable, value in THREADING.items():
        os.environ.setdefault(variable, value)
    step = importlib.import_module(f"components.{name}.step")
    started = time.monotonic()
    token = door.set(through)
    try:
        # Absolute: steps start processes in other folders.
        paths = {key: path.absolute() for key, path in inputs.items()}
        step.run(paths, params, out.absolute(), work.absolute())
    except AlreadyComplete:
        print(f"{name}: {out} is complete already", file=sys.stderr)
    else:
        print(f"{name}: wrote {out} in {time.monotonic() - started:.1f} s", file=sys.stderr)
    finally:
        door.reset(token)


def reason_of(error: BaseException) -> str | None:
    """One line for an error that a user can mend: bad input, a full disk, another service; None for every other."""
    if isinstance(error, InputError | StepRefusedError | UnavailableError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        place = error.filename or "the output's disk"
        return f"{place}: expected free space, found none ({error.strerror}). Free some, or choose another --out."
    return None
