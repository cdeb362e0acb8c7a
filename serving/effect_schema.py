"""Requests and answers of /v1/effect, version 1."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from serving.schema import FieldError, Item, Name, Note, Provenance, Request, Strict

_EXAMPLE_REFERENCE: JsonDict = {"rna": "GGGACATTCCCGAACATGGCTAGCTAA"}
_EXAMPLE_ALTERNATIVE: JsonDict = {"rna": "GGGACATTCCCGAACATGGCTAGCTGA"}


class EffectItem(Strict):
    """One change of one transcript: a variant of a transcript of the mounted reference, or two transcripts.

    `variant` is `chrom:pos:ref:alt` on the forward strand, position 1-based as in VCF, `-` for no bases. `reference`
    and `alternative` are items as of /v1/predict.
    """

    variant: Name | None = Field(default=None, description="chrom:pos:ref:alt, as in VCF")
    id: Name | None = Field(default=None, description="the transcript that the variant is applied to")
    reference: Item | None = None
    alternative: Item | None = None

    @model_validator(mode="after")
    def _one_way(self) -> EffectItem:
        by_variant = self.variant is not None and self.id is not None
        by_items = self.reference is not None and self.alternative is not None
        given = sum(value is not None for value in (self.variant, self.id, self.reference, self.alternative))
        if given != 2 or not (by_variant or by_items):
            raise ValueError("give variant and id, or reference and alternative")
        return self


class EffectRequest(Request):
    """A list of changes, see EffectItem."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {"reference": _EXAMPLE_REFERENCE, "alternative": _EXAMPLE_ALTERNATIVE},
                        {"variant": "chr19:1000:A:G", "id": "ENST00000000001"},
                    ]
                }
            ]
        },
    )


class TissueEffect(Strict):
    """Predicted change in one tissue: alternative minus reference."""

    tissue: str
    reference_log1p_tpm: float
    alternative_log1p_tpm: float
    log1p_tpm_change: float
    tpm_change: float


class EffectAnswerItem(Strict):
    """The answer to the change of the same `index`.

    `consequences`: Sequence Ontology terms of a variant. `caveats`: what of the change is not modelled, such as
    `splicing_not_modelled`. `protein_residues`: lengths of the reference and the alternative protein, 0 for none.
    """

    index: int
    id: str | None = None
    variant: str | None = None
    consequences: list[str] = Field(default=[])
    caveats: list[str] = Field(default=[])
    protein_residues: list[int] | None = None
    effect: list[TissueEffect] | None = None
    notes: list[Note] = Field(default=[])
    out_of_distribution: list[Note] = Field(default=[])
    errors: list[FieldError] = Field(default=[])


class EffectAnswer(Strict):
    """Answers in the order of the items; `unvalidated` until the model card holds a variant score."""

    schema_version: Literal[1] = 1
    items: list[EffectAnswerItem]
    validation: Literal["unvalidated", "scored"]
    variant_score: dict[str, Any] | None = Field(
        default=None, description="how the model's variant effects agree with measured ones, from its card"
    )
    provenance: Provenance
