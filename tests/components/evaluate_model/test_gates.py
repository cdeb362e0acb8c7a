"""Each rule of the verdict passes and fails where it should, and mutations of its arguments change the answer."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from components.evaluate_model.behaviour import Behaviour, TissueIdentity
from components.evaluate_model.bootstrap import Interval
from components.evaluate_model.evaluation import Evaluation, Measured, evaluate
from components.evaluate_model.gates import Evidence, verdict
from components.evaluate_model.leakage import Leakage
from components.evaluate_model.scores import HEADINGS, Scores
from components.sections import EvaluateParams, GateParams

GOOD = Interval(0.6, 0.55, 0.65)
BASELINES = ("tissue_mean", "ridge", "boosting", "kmer_ridge", "nearest_neighbour")
SEALED = Leakage({"genes": 0, "RNAs": 0, "proteins": 0, "DNA windows": 4}, ("genes", "RNAs", "proteins"))
STEADY = Behaviour(batches=1e-6, padding=1e-6, onnx=1e-6)


def scores(**means: Interval) -> Scores:
    return Scores(means=dict.fromkeys(HEADINGS, GOOD) | means, r2=(), spearman=(), r2_draws=np.zeros((1, 1)))


def evidence(**changes: Any) -> Evidence:
    sound = Evidence(
        genes=300,
        not_finite=0,
        same_dataset=True,
        model=scores(),
        gains=dict.fromkeys(BASELINES, Interval(0.2, 0.1, 0.3)),
        contributions=dict.fromkeys(("dna", "rna", "protein"), Interval(0.1, 0.05, 0.15)),
        rankable_genes=200,
        leakage=SEALED,
        behaviour=STEADY,
        identity=TissueIdentity(correlation=0.6, permuted=0.0, p=0.0005),
        champion=None,
    )
    return dataclasses.replace(sound, **changes)


def failed(result: dict[str, Any]) -> list[str]:
    return [rule["name"] for rule in result["rules"] if not rule["passed"]]


def judge(changed: Evidence, gates: GateParams | None = None) -> dict[str, Any]:
    return verdict(changed, gates or GateParams(), confidence=0.95)


def test_sound_evidence_is_blessed_without_reasons():
    result = judge(evidence())
    assert result["blessed"]
    assert result["reasons"] == []


@pytest.mark.parametrize(
    ("changes", "rule", "words"),
    [
        ({"genes": 12}, "enough_genes", "too few genes to bless"),
        ({"not_finite": 3}, "all_finite", "not finite"),
        ({"same_dataset": False}, "same_dataset", "another dataset"),
        ({"model": scores(r2=Interval(0.05, 0.0, 0.1))}, "min_r2", "below the floor"),
        ({"model": scores(spearman=Interval(float("nan"), float("nan"), float("nan")))}, "min_spearman", "0.000"),
        ({"model": scores(within_gene_spearman=Interval(0.05, -0.01, 0.1))}, "within_gene_above_chance", "not shown"),
        ({"rankable_genes": 0, "model": scores(within_gene_spearman=Interval(*[float("nan")] * 3))},
         "within_gene_above_chance", "No test gene"),
        ({"gains": dict.fromkeys(BASELINES, Interval(0.2, 0.1, 0.3)) | {"ridge": Interval(0.05, -0.01, 0.1)}},
         "better_than_ridge", "not shown to be better than ridge"),
        ({"leakage": Leakage({"genes": 3, "RNAs": 9}, ("genes", "RNAs"))}, "no_leakage", "3 genes, 9 RNAs"),
        ({"behaviour": Behaviour(batches=0.5, padding=0.0)}, "batches_change_nothing", "0.5 log1p TPM, more than"),
        ({"behaviour": Behaviour(batches=0.0, padding=float("nan"))}, "padding_changes_nothing", "nan"),
        ({"behaviour": Behaviour(batches=0.0, padding=0.0, onnx=0.1)}, "onnx_equals_torch", "ONNX"),
        ({"identity": TissueIdentity(0.1, 0.01, 0.3)}, "tissue_identity", "not shown to know which tissue"),
        ({"identity": TissueIdentity(0.6, 0.55, 0.0005)}, "tissue_identity", "+0.550 with its tissues permuted"),
    ],
)  # fmt: skip
def test_each_flaw_fails_its_own_rule_and_says_why(changes, rule, words):
    result = judge(evidence(**changes))
    assert failed(result) == [rule]
    assert not result["blessed"]
    assert len(result["reasons"]) == 1
    assert words in result["reasons"][0]


def test_required_contribution_refuses_a_model_that_ignores_a_modality():
    gates = GateParams(require_contribution=["dna", "rna"])
    ignores_rna = evidence(contributions={"dna": Interval(0.1, 0.05, 0.15), "rna": Interval(0.001, -0.002, 0.004)})
    assert failed(judge(ignores_rna, gates)) == ["contribution_rna"]
    assert failed(judge(evidence(contributions={"dna": Interval(0.1, 0.05, 0.15)}), gates)) == ["contribution_rna"]


def simulated(*, seed: int = 0, noise: float = 0.5, shift: float = 0.0) -> dict[str, Any]:
    """Labels of 400 transcripts of 150 genes and predictions that know them up to noise."""
    generator = np.random.default_rng(seed)
    observed = (2 + generator.normal(size=(400, 5))).astype(np.float32)
    predicted = (observed + noise * generator.normal(size=observed.shape) + shift).astype(np.float32)
    weak = (observed * 0.2 + 1.6 + 0.5 * generator.normal(size=observed.shape)).astype(np.float32)
    mean = np.full_like(observed, 2.0)
    return {
        "tissues": tuple("abcde"),
        "gene_ids": [f"g{number}" for number in generator.integers(150, size=400)],
        "observed": observed,
        "predicted": predicted,
        "baselines": dict.fromkeys(BASELINES, weak) | {"tissue_mean": mean},
        "penalties": {},
        "same_dataset": True,
        "leakage": SEALED,
        "behaviour": STEADY,
    }


def judged(arguments: dict[str, Any]) -> Evaluation:
    return evaluate(Measured(**arguments), EvaluateParams(resamples=300, rank_resamples=100))


def test_a_model_that_knows_the_labels_is_blessed():
    assert judged(simulated()).verdict["blessed"]


def test_swapping_model_and_baseline_is_refused():
    arguments = simulated()
    arguments["baselines"]["ridge"], arguments["predicted"] = arguments["predicted"], arguments["baselines"]["ridge"]
    assert "better_than_ridge" in failed(judged(arguments).verdict)


def test_a_model_compared_with_itself_is_not_better_than_itself():
    arguments = simulated()
    arguments["baselines"]["ridge"] = arguments["predicted"]
    assert "better_than_ridge" in failed(judged(arguments).verdict)


def test_flipped_sign_and_permuted_rows_are_refused():
    flipped = simulated()
    flipped["predicted"] = 4 - flipped["predicted"]
    assert {"min_spearman", "within_gene_above_chance"} <= set(failed(judged(flipped).verdict))
    permuted = simulated()
    permuted["predicted"] = np.random.default_rng(1).permutation(permuted["predicted"])
    assert {"min_r2", "min_spearman", "better_than_ridge"} <= set(failed(judged(permuted).verdict))


def test_a_model_that_predicts_constants_has_no_skill():
    arguments = simulated()
    arguments["predicted"] = np.full_like(arguments["predicted"], 2.0)
    evaluation = judged(arguments)
    assert {"min_r2", "min_spearman", "better_than_tissue_mean", "within_gene_above_chance"} <= set(
        failed(evaluation.verdict)
    )
    assert evaluation.metrics(simulated=True, ceilings={})["model"]["spearman"]["value"] is None


def test_one_nan_blocks_but_leaves_the_figures_readable():
    arguments = simulated()
    arguments["predicted"] = arguments["predicted"].copy()
    arguments["predicted"][3, 1] = np.nan
    evaluation = judged(arguments)
    assert failed(evaluation.verdict) == ["all_finite"]
    assert evaluation.model.means["r2"].value > 0.5


def test_equal_inputs_give_equal_verdicts_and_metrics():
    first, second = judged(simulated()), judged(simulated())
    assert first.verdict == second.verdict
    assert first.metrics(simulated=True, ceilings={}) == second.metrics(simulated=True, ceilings={})
