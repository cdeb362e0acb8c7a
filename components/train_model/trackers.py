"""Where the curves of a run go while it runs: TensorBoard files, or a service that the user configured."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from model.errors import InputError

# Nobody but the configured service is told of a training.
SILENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false", "DVC_NO_ANALYTICS": "1"}
# Where the name of a tracker is not that of the package: MLflow's client without its server.
PACKAGES = {"mlflow": "mlflow-skinny"}


class Tracker(Protocol):
    """Takes numbers by name and optimizer step."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Record values of one step."""

    def close(self) -> None:
        """Write what is left."""


class TensorBoard:
    """Event files for `tensorboard --logdir FOLDER`."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise _not_installed("tensorboard") from None
        self._writer = SummaryWriter(str(folder))

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Record values of one step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class Accelerate:
    """MLflow, W&B or DVCLive through accelerate's trackers, which read their servers and keys from the environment."""

    def __init__(self, name: str, folder: Path, config: Mapping[str, Any]) -> None:
        try:
            from accelerate import PartialState, tracking  # type: ignore[import-untyped]
        except ImportError:
            raise _not_installed("accelerate") from None
        kind = tracking.LOGGER_TYPE_TO_CLASS[name]
        if name not in {item.value for item in tracking.get_available_trackers()}:
            raise _not_installed(name)
        for variable, value in SILENT.items():
            os.environ.setdefault(variable, value)
        PartialState()  # its trackers ask it which rank they are
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._tracker = kind("isoformer", **_options(name, folder))
            self._tracker.start()
            self._tracker.store_init_configuration(flat(config))
        except Exception as error:
            raise InputError(
                where="runtime.trackers",
                expected=f"{name} to start",
                found=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
                fix=f"Check its address and keys in the environment, or take {name} off runtime.trackers.",
            ) from None

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Record values of one step."""
        self._tracker.log(dict(values), step=step)

    def close(self) -> None:
        """Write what is left."""
        self._tracker.finish()


def _options(name: str, folder: Path) -> dict[str, Any]:
    """What keeps a tracker from writing into the folder that the training runs in, which may be a repository."""
    if name == "wandb":
        return {"dir": os.environ.get("WANDB_DIR", str(folder))}
    if name == "dvclive":
        # Nor an experiment made of all that lies there. A training that goes on keeps its curves.
        return {"dir": str(folder / "dvclive"), "dvcyaml": None, "save_dvc_exp": False, "resume": True}
    return {"logging_dir": folder} if name == "tensorboard" else {}


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted names, as `--set` takes them: MLflow would keep a section as one string, or drop it."""
    values: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = value
    return values


class Dispensable:
    """Any tracker, but a failing one is told of once and left out: the training goes on without it."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self._name, self._tracker, self._failed = name, tracker, False

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Record values of one step."""
        self._unless_failed(lambda: self._tracker.log(values, step))

    def close(self) -> None:
        """Write what is left."""
        self._unless_failed(self._tracker.close)

    def _unless_failed(self, do: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            do()
        except Exception as error:
            # A service that is away for a minute, or a full disk of logs, must not cost days of computing.
            self._failed = True
            print(f"tracker {self._name} failed and is left out from here on: {error}", file=sys.stderr, flush=True)


def open_trackers(names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> list[Tracker]:
    """The configured trackers; one that is not installed or cannot start raises `InputError`."""
    return [
        Dispensable(name, TensorBoard(folder) if name == "tensorboard" else Accelerate(name, folder, config))
        for name in names
    ]


def _not_installed(package: str) -> InputError:
    return InputError(
        where="runtime.trackers",
        expected=f"the package {package}",
        found="that it is not installed",
        fix=f"Install it (pip install {PACKAGES.get(package, package)}), or take it off runtime.trackers.",
    )
