"""From a suite to its trials: one training and evaluation for each configuration and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from components.artifacts import config_digest, digest_of
from components.experiments.suites import Configuration, Suite
from components.params import Params
from components.train_model.weight_files import weight_files
from model.errors import InputError

# What decides a trial's figures; its digest names its folder.
SECTIONS = ("extract", "model", "train", "evaluate")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One configuration with one training seed, and the parameters that it means."""

    configuration: str
    seed: int
    params: Params

    def digest(self, transcripts: Path) -> str:
        """What the trial's result depends on, as one digest: parameters, data, contents of checkpoints."""
        weights = {name: digest_of(path) for name, path in weight_files(self.params.data.weights).items()}
        return config_digest(
            {**self.params.config(*SECTIONS), "transcripts": digest_of(transcripts), "weights": weights}
        )


def plan(suite: Suite, params: Params, *, seeds: int, pretrained: Mapping[str, Path]) -> list[Trial]:
    """All trials of a suite, seed by seed, so that a half-finished suite has every configuration early.

    `pretrained`: checkpoint by tower, which the pre-training suite needs for each. Raises `InputError` where one is
    missing, or a change does not fit the parameters.
    """
    _refuse_missing(suite, pretrained)
    first = params.train.seed
    return [
        _trial(item, params, seed, pretrained) for seed in range(first, first + seeds) for item in suite.configurations
    ]


def _trial(item: Configuration, params: Params, seed: int, pretrained: Mapping[str, Path]) -> Trial:
    weights = {name: str(pretrained[name].absolute()) for name in item.pretrained}
    changes = {"train": {"seed": seed}, "data": {"weights": weights}}
    return Trial(configuration=item.key, seed=seed, params=params.changed(item.changes).changed(changes))


def _refuse_missing(suite: Suite, pretrained: Mapping[str, Path]) -> None:
    needed = {name for item in suite.configurations for name in item.pretrained}
    missing = sorted(needed - pretrained.keys())
    if missing:
        raise InputError(
            where=f"suite {suite.key}",
            expected=f"a pre-trained checkpoint for {', '.join(missing)}",
            found="none",
            fix=" ".join(f"--pretrained {name}=PATH" for name in missing) + " (isoformer pretrain makes them).",
        )
