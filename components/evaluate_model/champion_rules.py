"""The rules about the champion: what a challenger needs to be blessed beside it, and to take its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from components.evaluate_model.paired import Comparison
from components.evaluate_model.rule import Rule


@dataclass(frozen=True)
class ChampionEvidence:
    """The champion's version and model digest, and what the challenger gains over it on the test genes of this dataset.

    `same_dataset`: whether the champion was trained on this dataset; one that was not may have seen its test genes.
    """

    version: str
    model_digest: str
    same_dataset: bool
    comparison: Comparison
    tissues: tuple[str, ...]


def is_better(evidence: ChampionEvidence) -> bool:
    """Whether the challenger is better: the lower bound of what it gains is above 0."""
    return bool(evidence.comparison.gain.low > 0)


def champion_rules(evidence: ChampionEvidence, margin: float, confidence: float) -> Iterator[Rule]:
    """Not worse than the champion by `margin` (R²), and no tissue significantly worse."""
    yield _not_worse(evidence, margin, f"{confidence:.0%}")
    yield _no_tissue_worse(evidence, confidence)


def _not_worse(evidence: ChampionEvidence, margin: float, level: str) -> Rule:
    gain = evidence.comparison.gain
    passed = gain.low > -margin  # written so that NaN fails
    words = "not worse than" if passed else "not shown to be as good as"
    again = "" if evidence.same_dataset else " The champion is of another dataset and was evaluated anew on this one."
    sentence = (
        f"The model is {words} the champion {evidence.version} within a margin of {margin:g}: R² gained "
        f"{gain.value:+.3f} ({level} interval over genes {gain.low:+.3f} to {gain.high:+.3f}).{again}"
    )
    return Rule("not_worse_than_champion", gain.low, -margin, passed, sentence)


def _no_tissue_worse(evidence: ChampionEvidence, confidence: float) -> Rule:
    worse = [evidence.tissues[index] for index in evidence.comparison.worse(confidence)]
    # With no defined tissue there is nothing to say in the model's favour.
    defined = evidence.comparison.p_worse[evidence.comparison.p_worse >= 0]
    smallest = float(defined.min()) if len(defined) else float("nan")
    sentence = (
        f"Significantly worse than the champion in {len(worse)} of {len(evidence.tissues)} tissues: {', '.join(worse)}."
        if worse
        else f"In none of {len(evidence.tissues)} tissues is the model significantly worse than the champion."
    )
    passed = bool(len(defined)) and not worse
    return Rule("no_tissue_worse_than_champion", smallest, 1 - confidence, passed, f"{sentence} (Holm-corrected.)")


def champion_json(evidence: ChampionEvidence | None) -> dict[str, Any] | None:
    """The comparison as JSON data; None where there was no champion."""
    if evidence is None:
        return None
    return {
        "version": evidence.version,
        "model_digest": evidence.model_digest,
        "same_dataset": evidence.same_dataset,
        "better": is_better(evidence),
        **evidence.comparison.to_json(evidence.tissues),
    }
