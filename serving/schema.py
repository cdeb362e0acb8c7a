"""Requests and answers of the service, version 1."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

_EXAMPLE_RNA = "GGGACATTCCCGAACAUGGCUAGCUAA"

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Strict(BaseModel):
    """No unknown fields, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Request(Strict):
    """What every request has; `items` are validated one by one, so that errors name theirs."""

    schema_version: Literal[1] = 1
    items: list[Any] = Field(min_length=1)
    tissues: list[Name] | None = Field(default=None, min_length=1, description="default: all tissues of the model")
    partial: bool = Field(default=False, description="answer the good items and report the bad ones by their index")


class Item(Strict):
    """One transcript: its id in the mounted reference, or any non-empty subset of its three sequences.

    `dna` is the window around the transcription start site in transcript orientation, with the site at its middle;
    `rna` the spliced transcript from 5' to 3'; `protein` its translation. Upper or lower case; U and T are one letter.
    """

    id: Name | None = Field(default=None, description="Ensembl transcript, with or without version")
    dna: str | None = Field(default=None, min_length=1)
    rna: str | None = Field(default=None, min_length=1)
    protein: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _something_given(self) -> Item:
        sequences = [name for name in ("dna", "rna", "protein") if getattr(self, name) is not None]
        if self.id is None and not sequences:
            raise ValueError("give an id, or at least one of dna, rna, protein")
        if self.id is not None and sequences:
            raise ValueError(f"give an id or sequences, not both (found id and {', '.join(sequences)})")
        return self


class PredictRequest(Request):
    """A list of items, see Item."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"items": [{"rna": _EXAMPLE_RNA}, {"id": "ENST00000000001"}]}]},
    )


class Interval(Strict):
    """Where the measured value is expected to lie, with the coverage that `PredictAnswer.intervals` tells."""

    low_log1p_tpm: float
    high_log1p_tpm: float
    low_tpm: float
    high_tpm: float


class TissueExpression(Strict):
    """Predicted expression in one tissue; `tpm` = exp(log1p_tpm) − 1, at least 0.

    `interval` is null where the model has no calibrated interval for the tissue.
    """

    tissue: str
    log1p_tpm: float
    tpm: float
    interval: Interval | None = None


class IntervalMethod(Strict):
    """How intervals were calibrated: `coverage` of them (a share) hold the measured value, `unit` says of what."""

    method: str
    coverage: float
    unit: str


class Note(Strict):
    """What was done to a sequence before prediction."""

    field: str
    code: str
    message: str


class FieldError(Strict):
    """What is wrong with which field of an item (`item` is absent where the request itself is wrong)."""

    item: int | None = None
    field: str
    message: str


class ItemAnswer(Strict):
    """The answer to the item of the same `index`: expression, or the errors that kept it from being predicted."""

    index: int
    id: str | None = None
    modalities: list[str] = []
    expression: list[TissueExpression] | None = None
    notes: list[Note] = []
    out_of_distribution: list[Note] = Field(
        default=[],
        description="in what the item is unlike the training transcripts; empty = in nothing that is checked",
    )
    errors: list[FieldError] = []


class Provenance(Strict):
    """Which model answered, and what it was trained on."""

    version: str
    model_digest: str
    dataset_version: str
    simulated: bool
    schema_version: Literal[1] = 1


class PredictAnswer(Strict):
    """Answers in the order of the items."""

    schema_version: Literal[1] = 1
    items: list[ItemAnswer]
    intervals: IntervalMethod | None = None
    provenance: Provenance


class ErrorAnswer(Strict):
    """Every answer that is not a prediction."""

    error: str
    details: list[FieldError] = []
    request_id: str | None = None
