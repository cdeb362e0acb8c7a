"""What a training process is told: read and written as JSON, without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from components.artifacts import write_json
from components.params import Params

# A file in the work folder: the run was stopped by SIGTERM and its state is saved.
STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a worker needs: the transcripts' payload, the parameters, the folder to work in."""

    payload: Path
    params: Params
    work: Path

    def write(self, path: Path) -> None:
        """Write as JSON."""
        write_json(path, {"payload": str(self.payload), "params": self.params.to_json(), "work": str(self.work)})

    @classmethod
    def read(cls, path: Path) -> Spec:
        """Read `write`."""
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(payload=Path(data["payload"]), params=Params.from_json(data["params"]), work=Path(data["work"]))
