"""The verdict: rules from params.yaml, each with its figure, its threshold and a sentence a person can read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.evaluate_model.baselines import HONEST
from components.evaluate_model.behaviour import Behaviour, TissueIdentity
from components.evaluate_model.bootstrap import Interval
from components.evaluate_model.champion_rules import ChampionEvidence, champion_json, champion_rules, is_better
from components.evaluate_model.leakage import Leakage
from components.evaluate_model.rule import Rule
from components.evaluate_model.scores import Scores, number_json
from components.sections import GateParams

VERDICT_SCHEMA_VERSION = 2
MODALITY_NAMES = {"dna": "DNA", "rna": "RNA", "protein": "protein"}


@dataclass(frozen=True)
class Evidence:
    """What the rules judge.

    `gains`: R²(model) − R²(baseline), by honest baseline. `contributions`: R² lost when a modality is shuffled across
    genes, by modality. `rankable_genes`: test genes with isoforms to rank. `same_dataset`: whether the model was
    trained on the very dataset whose test split judges it. `identity`: None where there are too few tissues to permute.
    `champion`: None where the registry has none, or it is this very model.
    """

    genes: int
    not_finite: int
    same_dataset: bool
    model: Scores
    gains: Mapping[str, Interval]
    contributions: Mapping[str, Interval]
    rankable_genes: int
    leakage: Leakage
    behaviour: Behaviour
    identity: TissueIdentity | None
    champion: ChampionEvidence | None


def verdict(evidence: Evidence, gates: GateParams, *, confidence: float) -> dict[str, Any]:
    """The verdict as JSON data: "blessed", "promoted", "rules", "reasons" (sentences of rules that failed), "champion".

    Blessed is a model that passes every rule; promoted one that is blessed and better than the champion, the lower
    bound of what it gains above 0, or the first. A figure that is not defined fails its rule.
    """
    rules = list(_rules(evidence, gates, confidence))
    blessed = all(rule.passed for rule in rules)
    return {
        "schema_version": VERDICT_SCHEMA_VERSION,
        "blessed": blessed,
        "promoted": blessed and (evidence.champion is None or is_better(evidence.champion)),
        "champion": champion_json(evidence.champion),
        "rules": [
            {
                "name": rule.name,
                "value": number_json(rule.value),
                "threshold": number_json(rule.threshold),
                "passed": rule.passed,
                "sentence": rule.sentence,
            }
            for rule in rules
        ],
        "reasons": [rule.sentence for rule in rules if not rule.passed],
    }


def _rules(evidence: Evidence, gates: GateParams, confidence: float) -> Iterator[Rule]:
    level = f"{confidence:.0%}"
    yield _enough_genes(evidence.genes, gates.min_test_genes)
    yield _all_finite(evidence.not_finite)
    yield _same_dataset(evidence.same_dataset)
    yield _no_leakage(evidence.leakage)
    yield from _batch_rules(evidence.behaviour, gates.max_difference)
    yield _floor("min_r2", "Mean R² over tissues", evidence.model.means["r2"], gates.min_r2)
    yield _floor("min_spearman", "Mean Spearman over tissues", evidence.model.means["spearman"], gates.min_spearman)
    for name in gates.better_than:
        yield _better_than(name, evidence.gains.get(name), level)
    if gates.tissue_identity and evidence.identity is not None:
        yield _tissue_identity(evidence.identity, confidence)
    if gates.within_gene_above_chance:
        yield _within_gene(evidence.model.means["within_gene_spearman"], evidence.rankable_genes, level)
    for modality in gates.require_contribution:
        yield _contribution(modality, evidence.contributions.get(modality), level)
    if evidence.champion is not None:
        yield from champion_rules(evidence.champion, gates.champion_margin, confidence)


def _enough_genes(genes: int, least: int) -> Rule:
    passed = genes >= least
    words = "enough to judge a model" if passed else f"too few genes to bless (at least {least} are asked for)"
    return Rule("enough_genes", genes, least, passed, f"The test split has {genes:,} genes: {words}.")


def _all_finite(not_finite: int) -> Rule:
    sentence = (
        f"{not_finite:,} predicted values are not finite numbers."
        if not_finite
        else "Every predicted value is a finite number."
    )
    return Rule("all_finite", not_finite, 0, not_finite == 0, sentence)


def _same_dataset(same: bool) -> Rule:
    sentence = (
        "The model was trained on the train split of this very dataset."
        if same
        else "The model was trained on another dataset: it may have seen the transcripts that test it here."
    )
    return Rule("same_dataset", float(same), 1, same, sentence)


def _no_leakage(leakage: Leakage) -> Rule:
    found = ", ".join(f"{count:,} {kind}" for kind, count in leakage.found.items())
    sentence = (
        f"The split leaks: {found} of the test split are in the training or validation split too."
        if found
        else f"The test split shares no {', '.join(leakage.promised)} with the training and validation splits."
    )
    return Rule("no_leakage", sum(leakage.found.values()), 0, not found, sentence)


def _batch_rules(behaviour: Behaviour, most: float) -> Iterator[Rule]:
    cases = [
        ("batches_change_nothing", "predicting transcripts one by one in reverse order", behaviour.batches),
        ("padding_changes_nothing", "padding the sequences of a batch to one length", behaviour.padding),
    ]
    if behaviour.onnx is not None:
        cases.append(("onnx_equals_torch", "running the exported ONNX graph instead of PyTorch", behaviour.onnx))
    for name, what, difference in cases:
        passed = difference <= most  # written so that NaN fails
        relation = "within" if passed else "more than"
        sentence = f"{what[0].upper()}{what[1:]} changes answers by {difference:.2g} log1p TPM, {relation} {most:g}."
        yield Rule(name, difference, most, passed, sentence)


def _tissue_identity(identity: TissueIdentity, confidence: float) -> Rule:
    passed = identity.p <= 1 - confidence and abs(identity.permuted) < max(0.05, identity.correlation / 2)
    words = "knows which tissue is which" if passed else "is not shown to know which tissue is which"
    sentence = (
        f"The model {words}: its tissue-centred profile correlation is {identity.correlation:+.3f}, and "
        f"{identity.permuted:+.3f} with its tissues permuted (p = {identity.p:.2g})."
    )
    return Rule("tissue_identity", identity.p, 1 - confidence, passed, sentence)


def _floor(name: str, what: str, figure: Interval, least: float) -> Rule:
    # Not defined (every prediction constant) is no skill.
    value = 0.0 if math.isnan(figure.value) else figure.value
    passed = value >= least
    relation = "reaches" if passed else "is below"
    return Rule(name, value, least, passed, f"{what} is {value:.3f}; it {relation} the floor of {least:g}.")


def _better_than(name: str, gain: Interval | None, level: str) -> Rule:
    if gain is None:
        sentence = f"Whether the model is better than {HONEST[name]} is not known: that baseline was not made."
        return Rule(f"better_than_{name}", float("nan"), 0, False, sentence)
    if math.isnan(gain.low):
        sentence = f"Whether the model is better than {HONEST[name]} is not defined: the test labels do not vary."
        return Rule(f"better_than_{name}", float("nan"), 0, False, sentence)
    passed = gain.low > 0
    words = "better than" if passed else "not shown to be better than"
    sentence = (
        f"The model is {words} {HONEST[name]}: R² gained {gain.value:+.3f} "
        f"({level} interval over genes {gain.low:+.3f} to {gain.high:+.3f})."
    )
    return Rule(f"better_than_{name}", gain.low, 0, passed, sentence)


def _within_gene(figure: Interval, genes: int, level: str) -> Rule:
    if math.isnan(figure.value):
        sentence = (
            "The model predicts the same for all isoforms of a gene: it has no skill within genes."
            if genes
            else "No test gene has isoforms to rank, so skill within genes cannot be shown."
        )
        return Rule("within_gene_above_chance", float("nan"), 0, False, sentence)
    passed = figure.low > 0
    words = "better than" if passed else "not shown to be better than"
    sentence = (
        f"The model ranks the isoforms of a gene {words} chance: mean Spearman {figure.value:+.3f} "
        f"over {genes:,} genes ({level} interval {figure.low:+.3f} to {figure.high:+.3f})."
    )
    return Rule("within_gene_above_chance", figure.low, 0, passed, sentence)


def _contribution(name: str, lost: Interval | None, level: str) -> Rule:
    modality = MODALITY_NAMES[name]
    rule = f"contribution_{name}"
    if lost is None:
        sentence = f"The contribution of {modality} was not measured: the model has no {modality} encoder."
        return Rule(rule, float("nan"), 0, False, sentence)
    passed = lost.low > 0
    words = "uses" if passed else "is not shown to use"
    sentence = (
        f"The model {words} {modality}: shuffling it across genes costs R² {lost.value:.3f} "
        f"({level} interval {lost.low:+.3f} to {lost.high:+.3f})."
    )
    return Rule(rule, lost.low, 0, passed, sentence)
