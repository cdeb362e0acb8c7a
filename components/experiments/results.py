"""What the finished trials of a suite say: predictions of the same test transcripts, scored per tissue.

S seeds, N test transcripts, T tissues.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from components.artifacts import open_artifact
from components.evaluate_model.metrics import GeneGroups, defined_mean, r2_per_tissue, skill, spearman_per_tissue
from components.experiments.records import Plan, PlannedTrial
from components.experiments.suites import Configuration, Suite, suite_of
from model.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """Test predictions (N, T) of one trial, and its R² and Spearman per tissue (T,)."""

    predicted: np.ndarray
    r2: np.ndarray
    spearman: np.ndarray

    @property
    def mean_r2(self) -> float:
        """Over tissues in which the labels vary."""
        return float(defined_mean(self.r2))

    @property
    def mean_spearman(self) -> float:
        """Over tissues in which the labels vary; a constant prediction ranks nothing."""
        return float(skill(self.spearman)[~np.isnan(self.r2)].mean())


@dataclass(frozen=True)
class SuiteResults:
    """A suite's plan with what is done of it.

    `trials[configuration][seed]`. `observed`: (N, T), log1p TPM of the test transcripts, None before any trial is
    done. `ceilings`: of simulated data, R² that a perfect reader of each subset of modalities reaches.
    """

    suite: Suite
    plan: Plan
    tissues: tuple[str, ...] = ()
    transcript_ids: tuple[str, ...] = ()
    groups: GeneGroups | None = None
    observed: np.ndarray | None = None
    simulated: bool = False
    ceilings: dict[str, float] = field(default_factory=dict)
    trials: dict[str, dict[int, TrialResult]] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        """All planned seeds."""
        return sorted({trial.seed for trial in self.plan.trials})

    def shared_seeds(self, first: str, second: str) -> list[int]:
        """Seeds for which both configurations are done."""
        return sorted(self.trials.get(first, {}).keys() & self.trials.get(second, {}).keys())

    def modalities(self, item: Configuration) -> str | None:
        """Which modalities a configuration reads, as the ceilings name them."""
        for trial in self.plan.trials:
            if trial.configuration == item.key:
                described = json.loads((trial.folder / "trial.json").read_text(encoding="utf-8"))
                return "+".join(described["params"]["model"]["modalities"])
        return None


def read_results(plan: Plan) -> SuiteResults:
    """Read all finished trials of a plan; raises `InputError` where two are of different test transcripts."""
    suite = suite_of(plan.suite, network=plan.network).restricted({trial.configuration for trial in plan.trials})
    results = SuiteResults(suite=suite, plan=plan)
    for trial in plan.trials:
        if trial.done:
            results = _with_trial(results, trial)
    return results


def _with_trial(results: SuiteResults, trial: PlannedTrial) -> SuiteResults:
    import pyarrow.parquet as pq

    payload = open_artifact(trial.evaluation, "evaluation").payload
    table = pq.read_table(
        payload / "predictions.parquet", columns=["transcript_id", "gene_id", "predicted", "observed"]
    )
    told = {key.decode(): json.loads(value) for key, value in table.schema.metadata.items() if b":" not in key}
    ids = tuple(table["transcript_id"].to_pylist())
    tissues = tuple(told["tissues"])
    if results.observed is None:
        results = SuiteResults(
            suite=results.suite,
            plan=results.plan,
            tissues=tissues,
            transcript_ids=ids,
            groups=GeneGroups.of(table["gene_id"].to_pylist()),
            observed=_matrix(table["observed"]),
            simulated=bool(told["simulated"]),
            ceilings=_ceilings(payload),
        )
    elif (ids, tissues) != (results.transcript_ids, results.tissues):
        raise InputError(
            where=str(trial.evaluation),
            expected="the test transcripts and tissues of the other trials of the suite",
            found=f"others ({len(ids)} transcripts instead of {len(results.transcript_ids)})",
            fix="Extract both data sets with the same split, or report them in folders of their own.",
        )
    predicted = _matrix(table["predicted"])
    assert results.observed is not None
    results.trials.setdefault(trial.configuration, {})[trial.seed] = TrialResult(
        predicted=predicted,
        r2=r2_per_tissue(results.observed, predicted),
        spearman=spearman_per_tissue(results.observed, predicted),
    )
    return results


def _matrix(column: Any) -> np.ndarray:
    values = column.combine_chunks()
    flat = values.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat.reshape(len(values), -1), dtype=np.float32)


def _ceilings(payload: Path) -> dict[str, float]:
    metrics = json.loads((payload / "metrics.json").read_text(encoding="utf-8"))
    return dict(metrics.get("ceilings") or {})
