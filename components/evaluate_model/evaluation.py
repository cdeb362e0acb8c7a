"""From predictions to evidence: every prediction scored on the same genes, and what follows for the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from components.evaluate_model.baselines import oracle_predictions
from components.evaluate_model.behaviour import Behaviour, TissueIdentity, tissue_identity
from components.evaluate_model.bootstrap import Interval
from components.evaluate_model.champion_prediction import ChampionPrediction
from components.evaluate_model.champion_rules import ChampionEvidence
from components.evaluate_model.gates import Evidence, verdict
from components.evaluate_model.leakage import Leakage
from components.evaluate_model.metrics import GeneGroups
from components.evaluate_model.paired import compare
from components.evaluate_model.residuals import Calibration, calibration
from components.evaluate_model.scores import Scorer, Scores, interval_json, number_json
from components.evaluate_model.strata import Stratum, StratumScore, score_strata
from components.sections import EvaluateParams

METRICS_SCHEMA_VERSION = 2
# Fewer tissues have too few permutations to tell anything.
MIN_TISSUES_TO_PERMUTE = 5
DNA_ALONE = "dna_alone"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Predictions for N test transcripts and T tissues, and what was found out about the model beside them.

    `baselines`: by honest baseline. `shuffled`: the model's with that modality shuffled across genes; `ablated`: by
    other ablation. `transcripts_digest`: of the dataset, to tell whether the champion was trained on it.
    """

    tissues: tuple[str, ...]
    gene_ids: list[str]
    observed: np.ndarray
    predicted: np.ndarray
    baselines: Mapping[str, np.ndarray]
    penalties: Mapping[str, float]
    same_dataset: bool
    leakage: Leakage
    behaviour: Behaviour
    shuffled: Mapping[str, np.ndarray] = field(default_factory=dict)
    ablated: Mapping[str, np.ndarray] = field(default_factory=dict)
    strata: tuple[Stratum, ...] = ()
    champion: ChampionPrediction | None = None
    transcripts_digest: str = ""


@dataclass(frozen=True)
class Evaluation:
    """Scores of the model, of each baseline and oracle, and what follows from them.

    `gains`: R²(model) − R²(other), by baseline or oracle. `contributions`: R² lost per shuffled modality; `ablations`:
    likewise by other ablation. `over_dna_alone`: R² gained per tissue, empty where that baseline was not trained.
    """

    measured: Measured
    groups: GeneGroups
    model: Scores
    baselines: dict[str, Scores]
    oracles: dict[str, Scores]
    gains: dict[str, Interval]
    contributions: dict[str, Interval]
    ablations: dict[str, Interval]
    over_dna_alone: tuple[Interval, ...]
    strata: list[StratumScore]
    calibration: Calibration
    identity: TissueIdentity | None
    top1_chance: float
    rankable_genes: int
    verdict: dict[str, Any]

    @property
    def tissues(self) -> tuple[str, ...]:
        """Their names, in the order of all columns."""
        return self.measured.tissues

    @property
    def observed(self) -> np.ndarray:
        """Labels, (N, T)."""
        return self.measured.observed

    @property
    def predicted(self) -> np.ndarray:
        """The model's predictions, (N, T)."""
        return self.measured.predicted

    def metrics(self, *, simulated: bool, ceilings: Mapping[str, float]) -> dict[str, Any]:
        """The content of metrics.json; `ceilings` are those of a simulation whose truth is known."""
        behaviour = self.measured.behaviour
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
            "ablations": {name: interval_json(lost) for name, lost in self.ablations.items()},
            "over_dna_alone": {
                tissue: interval_json(gain) for tissue, gain in zip(self.tissues, self.over_dna_alone, strict=False)
            },
            "strata": [score.to_json() for score in self.strata],
            "calibration": self.calibration.to_json(),
            "leakage": dict(self.measured.leakage.shared),
            "behaviour": {
                "batches": number_json(behaviour.batches),
                "padding": number_json(behaviour.padding),
                "onnx": None if behaviour.onnx is None else number_json(behaviour.onnx),
            },
            "ridge_penalties": dict(self.measured.penalties),
            "ceilings": dict(ceilings),
        }

    def _other(self, name: str, scores: Scores) -> dict[str, Any]:
        return {**scores.to_json(self.tissues), "r2_gained_by_model": interval_json(self.gains[name])}


def evaluate(measured: Measured, params: EvaluateParams) -> Evaluation:
    """Score all predictions against the labels and judge the model by the rules of `params.gates`."""
    observed, predicted = measured.observed, measured.predicted
    groups = GeneGroups.of(measured.gene_ids)
    scorer = Scorer(
        observed,
        groups,
        resamples=params.resamples,
        rank_resamples=params.rank_resamples,
        confidence=params.confidence,
        seed=params.seed,
    )
    scored = _finite(predicted, measured)
    model = scorer.score(scored)
    honest = {name: scorer.score(values) for name, values in measured.baselines.items()}
    oracles = {name: scorer.score(values) for name, values in oracle_predictions(observed, groups).items()}
    gains = {name: scorer.gain(model, scores) for name, scores in {**honest, **oracles}.items()}
    contributions, ablations = (
        {name: scorer.r2_lost(model, _finite(values, measured)) for name, values in predictions.items()}
        for predictions in (measured.shuffled, measured.ablated)
    )
    permutable = len(measured.tissues) >= MIN_TISSUES_TO_PERMUTE
    identity = tissue_identity(observed, scored, groups, params.seed) if permutable else None
    evidence = Evidence(
        genes=len(groups.sizes),
        not_finite=int((~np.isfinite(predicted)).sum()),
        same_dataset=measured.same_dataset,
        model=model,
        gains=gains,
        contributions=contributions,
        rankable_genes=scorer.rankable_genes,
        leakage=measured.leakage,
        behaviour=measured.behaviour,
        identity=identity,
        champion=_champion_evidence(scorer, model, measured),
    )
    return Evaluation(
        measured=measured,
        groups=groups,
        model=model,
        baselines=honest,
        oracles=oracles,
        gains=gains,
        contributions=contributions,
        ablations=ablations,
        over_dna_alone=scorer.tissue_gains(model, honest[DNA_ALONE]) if DNA_ALONE in honest else (),
        strata=score_strata(scorer, list(measured.strata), scored),
        calibration=calibration(scorer, scored),
        identity=identity,
        top1_chance=scorer.top1_chance,
        rankable_genes=scorer.rankable_genes,
        verdict=verdict(evidence, params.gates, confidence=params.confidence),
    )


def _finite(predicted: np.ndarray, measured: Measured) -> np.ndarray:
    """What is no number is scored as the tissue's training mean, so that all else can be told; it is never blessed."""
    return np.where(np.isfinite(predicted), predicted, measured.baselines["tissue_mean"])


def _champion_evidence(scorer: Scorer, model: Scores, measured: Measured) -> ChampionEvidence | None:
    champion = measured.champion
    if champion is None:
        return None
    return ChampionEvidence(
        version=champion.version,
        model_digest=champion.model_digest,
        same_dataset=champion.transcripts == measured.transcripts_digest,
        comparison=compare(scorer, model, scorer.score(_finite(champion.predicted, measured))),
        tissues=measured.tissues,
    )
