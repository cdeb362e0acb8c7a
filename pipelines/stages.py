"""The stage table: every step of the system, once. The command line is made of it; tests hold dvc.yaml, the Kubeflow
graph and the README to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RAW_INPUTS = ("genome", "annotation", "expression", "sample_attributes")
README_BEGIN = "<!-- stages:begin -->"
README_END = "<!-- stages:end -->"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step: what it reads and writes, where it runs, and which parameters decide its result.

    `inputs` are names of raw files or outputs of other stages, `optional` those it can do without; `place` is the
    conventional folder of the output, shared by the command line and DVC; `sections` are those of params.yaml that the
    result depends on.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    place: str
    image: str
    sections: tuple[str, ...]
    summary: str
    optional: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The sub-command of `isoformer`."""
        return self.name.replace("_", "-")

    @property
    def module(self) -> str:
        """The module that holds `run`."""
        return f"components.{self.name}.step"


STAGES: tuple[Stage, ...] = (
    Stage(
        name="fabricate",
        inputs=(),
        output="raw",
        place="data/simulated",
        image="data",
        sections=("fabricate", "extract"),
        summary="Simulate a genome, its annotation and its expression, with known truth.",
    ),
    Stage(
        name="validate_data",
        inputs=RAW_INPUTS,
        output="validation",
        place="artifacts/validation",
        image="data",
        sections=("validate_data", "extract"),
        summary="Check the raw files; stop on bad data.",
    ),
    Stage(
        name="extract_sequences",
        inputs=(*RAW_INPUTS, "validation"),
        output="transcripts",
        place="artifacts/transcripts",
        image="data",
        sections=("extract", "validate_data"),
        optional=("families", "regions", "previous"),
        summary="Make sequences, labels and splits of the raw files.",
    ),
    Stage(
        name="train_model",
        inputs=("transcripts",),
        output="model",
        place="artifacts/model",
        image="train",
        sections=("extract", "model", "train"),
        summary="Train the network; a stopped run goes on where it was.",
    ),
    Stage(
        name="evaluate_model",
        inputs=("transcripts", "model"),
        output="evaluation",
        place="artifacts/evaluation",
        image="train",
        sections=("evaluate",),
        optional=("truth", "champion"),
        summary="Compare the model with baselines on unseen genes, and judge it.",
    ),
    Stage(
        name="package_model",
        inputs=("transcripts", "model", "evaluation"),
        output="bento",
        place="artifacts/bento",
        image="package",
        sections=("package",),
        summary="Build the Bento of a blessed model, boot it, ask it, register it.",
    ),
)


def stage(name: str) -> Stage:
    """The stage of that name; `KeyError` where there is none."""
    return {item.name: item for item in STAGES}[name]


def producer(output: str) -> Stage | None:
    """The stage whose output has that name; None for a raw file."""
    return next((item for item in STAGES if item.output == output), None)


def readme_table(stages: Sequence[Stage] = STAGES) -> str:
    """The table between the markers in README.md."""
    rows = ["| step | reads | writes | image | command |", "|---|---|---|---|---|"]
    for item in stages:
        reads = ", ".join(item.inputs).replace(", ".join(RAW_INPUTS), "raw files") or "nothing"
        rows.append(f"| {item.summary} | {reads} | {item.output} | {item.image} | `isoformer {item.command}` |")
    return "\n".join(rows)
