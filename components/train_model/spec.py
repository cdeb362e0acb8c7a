"""What a training process is told: read and written as JSON, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from components.artifacts import write_json
from components.params import Params

# A file in the work folder: the run was stopped by SIGTERM and its state is saved.
STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a worker needs: the transcripts' payload, the parameters, the folder to work in.

    `inputs`: digests of the dataset and of initial weights, which a checkpoint must share. `logs`: where curves go;
    None = nowhere. `preflight_only`: compute the largest batches, train nothing.
    """

    payload: Path
    params: Params
    work: Path
    inputs: Mapping[str, str] = field(default_factory=dict)
    logs: Path | None = None
    preflight_only: bool = False

    def write(self, path: Path) -> None:
        """Write as JSON."""
        data = {
            "payload": str(self.payload),
            "params": self.params.to_json(),
            "work": str(self.work),
            "inputs": dict(self.inputs),
            "logs": None if self.logs is None else str(self.logs),
            "preflight_only": self.preflight_only,
        }
        staging = path.with_name(f".{path.name}.partial")
        write_json(staging, data)
        staging.rename(path)

    @classmethod
    def read(cls, path: Path) -> Spec:
        """Read `write`."""
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            payload=Path(data["payload"]),
            params=Params.from_json(data["params"]),
            work=Path(data["work"]),
            inputs=data["inputs"],
            logs=None if data["logs"] is None else Path(data["logs"]),
            preflight_only=data["preflight_only"],
        )
