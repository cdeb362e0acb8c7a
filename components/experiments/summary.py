"""A suite's report as JSON data, for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from components.evaluate_model.scores import interval_json, number_json

if TYPE_CHECKING:
    from components.experiments.report import SuiteReport


def summary_of(report: SuiteReport) -> dict[str, Any]:
    """Scores per configuration and seed, comparisons, baseline, and which trials are missing."""
    results = report.results
    return {
        "simulated": results.simulated,
        "configurations": {
            key: {
                str(seed): {"r2": number_json(trial.mean_r2), "spearman": number_json(trial.mean_spearman)}
                for seed, trial in sorted(by_seed.items())
            }
            for key, by_seed in results.trials.items()
        },
        "comparisons": [
            {
                "first": item.first,
                "second": item.second,
                "seeds": item.seeds,
                "difference": interval_json(item.difference),
                "interval_90": interval_json(item.narrow),
                "p_genes_seeds": number_json(item.p_genes_seeds),
                "p_holm": number_json(item.p_holm),
                "p_seeds": item.p_seeds,
            }
            for item in report.comparisons
        ],
        "length_baseline": None
        if report.baseline is None
        else {"r2": report.baseline.r2, "spearman": report.baseline.spearman},
        "ceilings": results.ceilings,
        "attention": {key: table.to_json() for key, table in report.attention.items()},
        "missing": [{"configuration": trial.configuration, "seed": trial.seed} for trial in results.plan.missing],
    }
