"""The champion gate on predictions of two real trainings: swapped, flipped or incomplete arguments change the answer.

`two_models.parquet` holds what two seeds of the demo's model (simulated data) predicted for the same test transcripts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from components.evaluate_model.champion_rules import ChampionEvidence, champion_json, champion_rules, is_better
from components.evaluate_model.metrics import GeneGroups
from components.evaluate_model.paired import Comparison, compare, holm
from components.evaluate_model.scores import Scorer, Scores

MARGIN, CONFIDENCE = 0.02, 0.95
Compare = Callable[[Scorer, Scores, Scores], Comparison]


def judged(two_models, champion: np.ndarray, challenger: np.ndarray, by: Compare = compare) -> ChampionEvidence:
    scorer = Scorer(
        two_models.observed,
        GeneGroups.of(two_models.gene_ids),
        resamples=400,
        rank_resamples=100,
        confidence=CONFIDENCE,
        seed=0,
    )
    scores = {id(values): scorer.score(values) for values in (champion, challenger)}
    comparison = by(scorer, scores[id(challenger)], scores[id(champion)])
    return ChampionEvidence("v1", "digest", True, comparison, two_models.tissues)


def outcome(evidence: ChampionEvidence) -> tuple[bool, bool, list[str]]:
    """Blessed, promoted, and the names of the rules that failed."""
    rules = list(champion_rules(evidence, MARGIN, CONFIDENCE))
    failed = [rule.name for rule in rules if not rule.passed]
    return not failed, not failed and is_better(evidence), failed


def failures(two_models, by: Compare) -> list[str]:
    """What of the gate's specification does not hold on the real predictions, with `by` as its comparison."""
    worse, better = two_models.champion, two_models.challenger
    # The tissue-mean part of each prediction: a clearly worse, still sensible model.
    dull = ((better + better.mean(axis=0)) / 2).astype(np.float32)
    wrong = []
    if outcome(judged(two_models, worse, better, by))[:2] != (True, True):
        wrong.append("the better of two real models is promoted")
    if outcome(judged(two_models, better, worse, by))[0]:
        wrong.append("the worse of two real models is not blessed")
    if "not_worse_than_champion" not in outcome(judged(two_models, better, dull, by))[2]:
        wrong.append("a model that lost half of its spread is refused")
    if outcome(judged(two_models, better, better.copy(), by))[:2] != (True, False):
        wrong.append("an equal model is blessed and not promoted")
    for tissue, name in enumerate(two_models.tissues):
        damaged = better.copy()
        damaged[:, tissue] = dull[:, tissue]
        found = judged(two_models, better, damaged, by)
        if [two_models.tissues[index] for index in found.comparison.worse(CONFIDENCE)] != [name]:
            wrong.append(f"a model that got worse in {name} is refused for {name}")
    return wrong


def test_the_gate_keeps_its_specification_on_real_predictions(two_models):
    assert failures(two_models, compare) == []


def dropped(scores: Scores) -> Scores:
    return dataclasses.replace(scores, r2=scores.r2[1:], r2_draws=scores.r2_draws[:, 1:])


def flipped(comparison: Comparison) -> Comparison:
    gain = comparison.gain
    turned = dataclasses.replace(gain, value=-gain.value, low=-gain.high, high=-gain.low)
    return dataclasses.replace(comparison, gain=turned)


MUTANTS: dict[str, Compare] = {
    "champion and challenger swapped": lambda scorer, new, old: compare(scorer, old, new),
    "sign of the gain flipped": lambda scorer, new, old: flipped(compare(scorer, new, old)),
    "sign of the tissues flipped": lambda scorer, new, old: dataclasses.replace(
        compare(scorer, new, old), p_worse=compare(scorer, old, new).p_worse
    ),
    "a tissue dropped": lambda scorer, new, old: compare(scorer, dropped(new), dropped(old)),
    "the champion's file read twice": lambda scorer, new, old: compare(scorer, old, old),
    "the challenger's file read twice": lambda scorer, new, old: compare(scorer, new, new),
    "resamples not paired": lambda scorer, new, old: compare(
        scorer, new, dataclasses.replace(old, r2_draws=old.r2_draws[::-1])
    ),
    "no correction for many tissues, all taken as sound": lambda scorer, new, old: dataclasses.replace(
        compare(scorer, new, old), p_worse=np.ones(len(new.r2))
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_mutation_of_the_gate_breaks_its_specification(two_models, mutant):
    assert failures(two_models, MUTANTS[mutant])


def test_holm_equals_the_steps_worked_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.5, np.nan, 0.9])), [1.0, np.nan, 1.0])
    assert len(holm(np.array([]))) == 0


def test_a_champion_of_another_dataset_is_said_to_be_evaluated_anew(two_models):
    evidence = judged(two_models, two_models.champion, two_models.challenger)
    other = dataclasses.replace(evidence, same_dataset=False)
    sentences = [rule.sentence for rule in champion_rules(other, MARGIN, CONFIDENCE)]
    assert "evaluated anew" in sentences[0]
    told = champion_json(other)
    assert told is not None
    assert told["same_dataset"] is False
    assert set(told["per_tissue"]) == set(two_models.tissues)
    assert champion_json(None) is None


def test_undefined_figures_bless_nothing(two_models):
    constant = np.ones_like(two_models.observed)
    nothing = dataclasses.replace(two_models, observed=constant)
    assert not outcome(judged(nothing, two_models.champion, two_models.challenger))[0]
