"""What a folder of experiments holds: for each suite its plan, and for each trial a folder named by its digest.

    FOLDER/modalities.json             the plan: which trials, in which order
    FOLDER/trials/<digest>/trial.json  what the trial is
    FOLDER/trials/<digest>/model, evaluation, log.txt, work

Trials are shared by the suites of a folder: the same training is not run twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.artifacts import MANIFEST, RUN_RECORD, write_json
from components.experiments.suites import SUITES, Suite
from components.experiments.trials import Trial
from model.errors import InputError

PLAN_SCHEMA_VERSION = 1
DIGEST_LETTERS = 16
TRIALS = "trials"


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """A trial of a suite's plan, and its folder."""

    configuration: str
    seed: int
    folder: Path

    @property
    def model(self) -> Path:
        """Place of the model artifact."""
        return self.folder / "model"

    @property
    def evaluation(self) -> Path:
        """Place of the evaluation artifact, the last thing that a trial writes."""
        return self.folder / "evaluation"

    @property
    def log(self) -> Path:
        """What the trial's steps said."""
        return self.folder / "log.txt"

    @property
    def done(self) -> bool:
        """Whether the trial was run to its end."""
        return (self.evaluation / MANIFEST).is_file()

    def seconds(self) -> float | None:
        """How long training and evaluation took; None before both are done."""
        places = [self.model / RUN_RECORD, self.evaluation / RUN_RECORD]
        if not all(place.is_file() for place in places):
            return None
        return float(sum(json.loads(place.read_text(encoding="utf-8"))["seconds"] for place in places))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A suite's trials in a folder, the network that they are of, and the data sets that they read, by window_bp."""

    suite: str
    network: str
    trials: tuple[PlannedTrial, ...]
    transcripts: Mapping[int, Path]

    @property
    def missing(self) -> list[PlannedTrial]:
        """Trials that are not done."""
        return [trial for trial in self.trials if not trial.done]


def write_plan(
    folder: Path, suite: Suite, network: str, trials: Sequence[Trial], transcripts: Mapping[int, Path]
) -> Plan:
    """Write a suite's plan and the description of each of its trials; existing trials are kept as they are."""
    entries = []
    for trial in trials:
        data = transcripts_for(trial, transcripts)
        digest = trial.digest(data)[:DIGEST_LETTERS]
        place = folder / TRIALS / digest
        place.mkdir(parents=True, exist_ok=True)
        description = {
            "params": json.loads(trial.params.to_json()),
            "transcripts": str(data.absolute()),
            "data_folder": str(Path(trial.params.data.folder).absolute()),
        }
        write_json(place / "trial.json", description)
        entries.append({"configuration": trial.configuration, "seed": trial.seed, "digest": digest})
    write_json(
        folder / f"{suite.key}.json",
        {
            "schema_version": PLAN_SCHEMA_VERSION,
            "suite": suite.key,
            "network": network,
            "transcripts": {str(window): str(path.absolute()) for window, path in sorted(transcripts.items())},
            "trials": entries,
        },
    )
    return read_plan(folder, suite.key)


def transcripts_for(trial: Trial, transcripts: Mapping[int, Path]) -> Path:
    """The data set whose windows a trial's network reads; raises `InputError` where there is none."""
    wanted = trial.params.extract.window_bp
    if wanted in transcripts:
        return transcripts[wanted]
    if "dna" not in trial.params.model.modalities:
        return next(iter(transcripts.values()))
    raise InputError(
        where=f"configuration {trial.configuration}",
        expected=f"a transcripts artifact with DNA windows of {wanted:,} bp",
        found=", ".join(f"{window:,} bp" for window in sorted(transcripts)),
        fix=f"Extract with extract.window_bp={wanted}, and give that --transcripts too.",
    )


def read_plan(folder: Path, suite: str) -> Plan:
    """Read a suite's plan; raises `InputError` where there is none, or none of this version."""
    path = folder / f"{suite}.json"
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data["schema_version"] != PLAN_SCHEMA_VERSION or data["suite"] != suite:
            raise ValueError("of another version or suite")
        return Plan(
            suite=suite,
            network=data["network"],
            transcripts={int(window): Path(place) for window, place in data["transcripts"].items()},
            trials=tuple(
                PlannedTrial(
                    configuration=entry["configuration"],
                    seed=entry["seed"],
                    folder=folder / TRIALS / entry["digest"],
                )
                for entry in data["trials"]
            ),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            where=str(path),
            expected="the plan of a suite",
            found="no file" if isinstance(error, FileNotFoundError) else f"something else ({error})",
            fix=f"Run `isoformer experiments run --suite {suite} --out {folder}` first.",
        ) from None


def planned_suites(folder: Path) -> list[str]:
    """The suites that a folder has a plan of, in the order of the paper's questions."""
    return [name for name in SUITES if (folder / f"{name}.json").is_file()]
