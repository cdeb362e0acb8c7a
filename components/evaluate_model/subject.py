"""What is evaluated: a model artifact and the dataset artifact whose test split judges it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.artifacts import Artifact, open_artifact
from model.errors import InputError


@dataclass(frozen=True)
class Subject:
    """`history`: one entry per training epoch. `dataset`: the dataset's description of itself.

    `ceilings`: where the data are simulated and the truth about them was given, the mean R² over tissues that a
    perfect reader of each set of modalities would reach, by their names joined with +.
    """

    model: Artifact
    history: list[dict[str, Any]]
    transcripts: Artifact
    dataset: dict[str, Any]
    ceilings: dict[str, float]

    @classmethod
    def open(cls, *, model: Path, transcripts: Path, truth: Path | None = None) -> Subject:
        """Open and verify all; a damaged or wrong artifact, or the truth about other data, raises `InputError`."""
        network, data = open_artifact(model, "model"), open_artifact(transcripts, "transcripts")
        return cls(
            network,
            _read_json(network, "history.json"),
            data,
            _read_json(data, "dataset.json"),
            {} if truth is None else _ceilings(truth, data),
        )

    @property
    def simulated(self) -> bool:
        """Whether the data are simulated: said wherever a figure shows."""
        return bool(self.dataset["simulated"])

    @property
    def same_dataset(self) -> bool:
        """Whether the model was trained on this very dataset."""
        return bool(self.model.manifest["inputs"].get("transcripts") == self.transcripts.digest)

    @property
    def ceiling(self) -> float | None:
        """The ceiling of all modalities together: what noise leaves."""
        return max(self.ceilings.values(), default=None)

    @property
    def reliability(self) -> float | None:
        """Mean over tissues of the labels' split-half reliability; None where it was not measured."""
        measured = [value for value in self.dataset.get("label_reliability", []) if value is not None]
        return sum(measured) / len(measured) if measured else None


def _read_json(artifact: Artifact, name: str) -> Any:
    return json.loads((artifact.payload / name).read_text(encoding="utf-8"))


def _ceilings(path: Path, transcripts: Artifact) -> dict[str, float]:
    """Ceilings that truth.json of a simulation tells, if it is that of the dataset's expression table."""
    try:
        truth = json.loads(path.read_text(encoding="utf-8"))
        ceilings = {str(name): float(entry["mean"]) for name, entry in truth["ceilings"].items()}
        files = set(truth["files"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            where=str(path),
            expected="truth.json of a fabricated data set",
            found=f"another content ({error!r})",
            fix="Give the truth.json that fabricate wrote, or none.",
        ) from None
    if transcripts.manifest["inputs"].get("expression") not in files:
        raise InputError(
            where=str(path),
            expected="the truth about the expression table that the dataset was made from",
            found="the truth about another one",
            fix="Give the truth.json that stands beside that table, or none.",
        )
    return ceilings
