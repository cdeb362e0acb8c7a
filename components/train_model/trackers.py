"""Where the curves of a run go while it runs: TensorBoard files, or a service that the user configured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from model.errors import InputError


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
            from accelerate import PartialState  # type: ignore[import-untyped]
            from accelerate.tracking import (  # type: ignore[import-untyped]
                LOGGER_TYPE_TO_CLASS,
                is_tracking_available,
            )

            available = is_tracking_available(name)
        except ImportError:
            raise _not_installed("accelerate") from None
        if not available:
            raise _not_installed(name)
        PartialState()  # its trackers ask it which rank they are
        kind = LOGGER_TYPE_TO_CLASS[name]
        logging = {"logging_dir": folder} if kind.requires_logging_directory else {}
        self._tracker = kind("isoformer", **logging)
        self._tracker.start()
        self._tracker.store_init_configuration(dict(config))

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Record values of one step."""
        self._tracker.log(dict(values), step=step)

    def close(self) -> None:
        """Write what is left."""
        self._tracker.finish()


def open_trackers(names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> list[Tracker]:
    """The configured trackers; one whose package is missing raises `InputError`."""
    return [TensorBoard(folder) if name == "tensorboard" else Accelerate(name, folder, config) for name in names]


def _not_installed(package: str) -> InputError:
    return InputError(
        where="runtime.trackers",
        expected=f"the package {package}",
        found="that it is not installed",
        fix=f"Install it (pip install {package}), or take it off runtime.trackers.",
    )
