"""Claim: the champion gate errs as often as it says. On 980 test genes, an equal model is promoted in at most 5 % of
cases, a model worse by the margin is blessed in at most 5 %, and an equal one is blessed in at least 90 % where the
errors of the two models correlate by 0.95.

    python -m benchmarks.gate_operating_characteristics [--trials 200] [--correlations 0.95 …] [--evaluations DIR DIR]

Pairs of models are simulated with a known true difference: labels and errors have a part per gene and a part per
transcript, and the errors of the two correlate. The gate is the product's own: `Scorer`, `compare`, `champion_rules`.
Given two evaluation artifacts of one dataset (two seeds), their errors' correlation is measured and marked.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.evaluate_model.bootstrap import Interval, r2_samples
from components.evaluate_model.champion_rules import ChampionEvidence, champion_rules, is_better
from components.evaluate_model.metrics import GeneGroups, defined_mean, r2_per_tissue
from components.evaluate_model.paired import compare
from components.evaluate_model.scores import Scorer, Scores
from components.sections import EvaluateParams

GENES, TRANSCRIPTS, TISSUES = 980, 4718, 30  # the published test split
CORRELATIONS = (0.5, 0.8, 0.95)
EASY = 0.95
R2 = 0.5
GENE_SHARE = 0.5  # of the variance of labels and errors lies between genes
RESAMPLES = 500


@dataclass(frozen=True)
class Outcome:
    """How often pairs were blessed and promoted."""

    blessed: int
    promoted: int
    trials: int


def main() -> None:
    """Print the table, then whether the claim holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--correlations", nargs="+", type=float, default=CORRELATIONS, metavar="R")
    parser.add_argument("--evaluations", nargs=2, type=Path, metavar="DIR")
    arguments = parser.parse_args()
    gates = EvaluateParams().gates
    margin = gates.champion_margin
    cases = [(correlation, gain) for correlation in arguments.correlations for gain in (0.0, -margin, margin)]
    if arguments.evaluations:
        measured = error_correlation(*arguments.evaluations)
        print(f"Correlation of the errors of two real seeds: {measured:.3f} (marked * below)")
        cases += [(measured, gain) for gain in (0.0, -margin, margin)]
    print(
        f"{GENES} genes, {TRANSCRIPTS} transcripts, {TISSUES} tissues; {arguments.trials} pairs a row; margin {margin}"
    )
    print("error correlation   true gain   blessed  [95 % interval]     promoted [95 % interval]   s")
    found = {}
    for number, (correlation, gain) in enumerate(cases):
        started = time.monotonic()
        outcome = found[correlation, gain] = run_trials(correlation, gain, arguments.trials, seed=number)
        mark = "*" if arguments.evaluations and correlation == measured else " "
        print(
            f"{correlation:.3f}{mark}              {gain:+.3f}      {_rate(outcome.blessed, outcome.trials)}   "
            f"{_rate(outcome.promoted, outcome.trials)}   {time.monotonic() - started:.0f}",
            flush=True,
        )
    # A rate of error is refused where even the lower end of its interval is above the limit.
    holds = (
        all(
            _wilson(found[c, 0.0].promoted, arguments.trials)[0] <= 0.05
            and _wilson(found[c, -margin].blessed, arguments.trials)[0] <= 0.05
            for c in arguments.correlations
        )
        # Errors that correlate more make it easier.
        and all(found[c, 0.0].blessed >= 0.9 * arguments.trials for c in arguments.correlations if c >= EASY)
    )
    print(f"the claim {'holds' if holds else 'DOES NOT HOLD'}")


def run_trials(correlation: float, gain: float, trials: int, *, seed: int) -> Outcome:
    """Judge `trials` simulated pairs whose challenger truly gains `gain` R²."""
    params = EvaluateParams()
    blessed = promoted = 0
    for trial in range(trials):
        generator = np.random.default_rng([seed, trial])
        evidence = judged_pair(generator, correlation, gain, params.confidence)
        rules = list(champion_rules(evidence, params.gates.champion_margin, params.confidence))
        passed = all(rule.passed for rule in rules)
        blessed += passed
        promoted += passed and is_better(evidence)
    return Outcome(blessed, promoted, trials)


def judged_pair(generator: np.random.Generator, correlation: float, gain: float, confidence: float) -> ChampionEvidence:
    """One simulated champion and challenger, compared as the product does."""
    gene = np.concatenate([np.arange(GENES), generator.integers(GENES, size=TRANSCRIPTS - GENES)])
    groups = GeneGroups.of([f"g{number:04d}" for number in gene])
    observed = _noise(generator, groups)
    shared, own, other = (_noise(generator, groups) for _ in range(3))
    # Errors of variance 1 − R²; independent of the labels, so that R² of each model is what is asked for.
    first = np.sqrt(1 - R2) * (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)
    second = np.sqrt(1 - R2 - gain) * (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * other)
    scorer = Scorer(
        observed,
        groups,
        resamples=RESAMPLES,
        rank_resamples=100,
        confidence=confidence,
        seed=int(generator.integers(2**31)),
    )
    champion, challenger = (_r2_scores(scorer, observed - error) for error in (first, second))
    comparison = compare(scorer, challenger, champion)
    return ChampionEvidence("champion", "digest", True, comparison, tuple(f"t{number}" for number in range(TISSUES)))


def _noise(generator: np.random.Generator, groups: GeneGroups) -> np.ndarray:
    """Variance 1 (N, T), part of it shared by a gene's transcripts, and half of each part shared by tissues."""
    parts = []
    for rows, share in ((len(groups.sizes), GENE_SHARE), (len(groups.gene), 1 - GENE_SHARE)):
        common = generator.standard_normal((rows, 1), dtype=np.float32)
        apart = generator.standard_normal((rows, TISSUES), dtype=np.float32)
        parts.append(np.sqrt(share / 2) * (common + apart))
    return np.asarray(parts[0][groups.gene] + parts[1], dtype=np.float32)


def _r2_scores(scorer: Scorer, predicted: np.ndarray) -> Scores:
    """The part of `Scorer.score` that the champion gate reads: the rank metrics would take most of the time."""
    draws = r2_samples(scorer.counts, scorer.groups, scorer.observed, predicted)
    values = r2_per_tissue(scorer.observed, predicted)
    intervals = tuple(scorer.interval(float(value), draws[:, index]) for index, value in enumerate(values))
    mean: Interval = scorer.interval(float(defined_mean(values)), defined_mean(draws, axis=1))
    return Scores(means={"r2": mean}, r2=intervals, spearman=(), r2_draws=draws)


def error_correlation(first: Path, second: Path) -> float:
    """Correlation of the errors of two evaluated models over the same transcripts, mean over tissues."""
    import pyarrow.parquet as pq

    tables = [pq.read_table(folder / "payload" / "predictions.parquet") for folder in (first, second)]
    if tables[0]["transcript_id"] != tables[1]["transcript_id"]:
        raise SystemExit("the two evaluations are of different test splits")
    errors = [np.array(table["predicted"].to_pylist()) - np.array(table["observed"].to_pylist()) for table in tables]
    return float(np.mean([np.corrcoef(one, other)[0, 1] for one, other in zip(errors[0].T, errors[1].T, strict=True)]))


def _rate(count: int, trials: int) -> str:
    low, high = _wilson(count, trials)
    return f"{count / trials:6.1%}  [{low:5.1%}, {high:6.1%}]"


def _wilson(count: int, trials: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    bounds = binomtest(count, trials).proportion_ci(method="wilson")
    return float(bounds.low), float(bounds.high)


if __name__ == "__main__":
    main()
