"""From predictions to evidence: every prediction scored on the same genes, and what follows for the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.evaluate_model.baselines import oracle_predictions
from components.evaluate_model.bootstrap import Interval
from components.evaluate_model.gates import Evidence, verdict
from components.evaluate_model.metrics import GeneGroups
from components.evaluate_model.scores import Scorer, Scores, interval_json, number_json
from components.sections import EvaluateParams

METRICS_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Evaluation:
    """Scores of the model, of each baseline and oracle, and what follows from them.

    `gains`: R²(model) − R²(other), by baseline or oracle. `contributions`: R² lost per shuffled modality.
    """

    tissues: tuple[str, ...]
    groups: GeneGroups
    observed: np.ndarray
    predicted: np.ndarray
    model: Scores
    baselines: dict[str, Scores]
    oracles: dict[str, Scores]
    gains: dict[str, Interval]
    contributions: dict[str, Interval]
    top1_chance: float
    rankable_genes: int
    verdict: dict[str, Any]
    penalties: dict[str, float]

    def metrics(self, *, simulated: bool, ceilings: Mapping[str, float]) -> dict[str, Any]:
        """The content of metrics.json; `ceilings` are those of a simulation whose truth is known."""
        return {
            "schema_version": METRICS_SCHEMA_VERSION,
            "simulated": simulated,
            "split": "test",
            "transcripts": len(self.observed),
            "genes": len(self.groups.sizes),
            "genes_with_isoforms_to_rank": self.rankable_genes,
            "within_gene_top1_chance": number_json(self.top1_chance),
            "model": self.model.to_json(self.tissues),
            "baselines": {name: self._other(name, scores) for name, scores in self.baselines.items()},
            "oracles": {name: self._other(name, scores) for name, scores in self.oracles.items()},
            "contributions": {name: interval_json(lost) for name, lost in self.contributions.items()},
            "ridge_penalties": self.penalties,
            "ceilings": dict(ceilings),
        }

    def _other(self, name: str, scores: Scores) -> dict[str, Any]:
        return {**scores.to_json(self.tissues), "r2_gained_by_model": interval_json(self.gains[name])}


def evaluate(
    *,
    tissues: tuple[str, ...],
    gene_ids: list[str],
    observed: np.ndarray,
    predicted: np.ndarray,
    baselines: Mapping[str, np.ndarray],
    shuffled: Mapping[str, np.ndarray],
    penalties: Mapping[str, float],
    same_dataset: bool,
    params: EvaluateParams,
) -> Evaluation:
    """Score predictions (N, T) against `observed` (N, T) and judge the model by the rules of `params.gates`.

    `baselines`: predictions by honest baseline. `shuffled`: the model's predictions with that modality shuffled.
    """
    groups = GeneGroups.of(gene_ids)
    scorer = Scorer(
        observed,
        groups,
        resamples=params.resamples,
        rank_resamples=params.rank_resamples,
        confidence=params.confidence,
        seed=params.seed,
    )
    not_finite = int((~np.isfinite(predicted)).sum())
    # What is no number is scored as the tissue's training mean, so that all else can be told; it is never blessed.
    scored = np.where(np.isfinite(predicted), predicted, baselines["tissue_mean"])
    model = scorer.score(scored)
    honest = {name: scorer.score(values) for name, values in baselines.items()}
    oracles = {name: scorer.score(values) for name, values in oracle_predictions(observed, groups).items()}
    gains = {name: scorer.gain(model, scores) for name, scores in {**honest, **oracles}.items()}
    contributions = {
        name: scorer.gain(model, scorer.score(np.where(np.isfinite(values), values, baselines["tissue_mean"])))
        for name, values in shuffled.items()
    }
    evidence = Evidence(
        genes=len(groups.sizes),
        not_finite=not_finite,
        same_dataset=same_dataset,
        model=model,
        gains=gains,
        contributions=contributions,
        rankable_genes=scorer.rankable_genes,
    )
    return Evaluation(
        tissues=tissues,
        groups=groups,
        observed=observed,
        predicted=predicted,
        model=model,
        baselines=honest,
        oracles=oracles,
        gains=gains,
        contributions=contributions,
        top1_chance=scorer.top1_chance,
        rankable_genes=scorer.rankable_genes,
        verdict=verdict(evidence, params.gates, confidence=params.confidence),
        penalties=dict(penalties),
    )
