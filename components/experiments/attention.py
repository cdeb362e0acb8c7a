"""Where the RNA encoder of a suite's networks looks, after training against before: over all finished seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from components.artifacts import open_artifact
from components.evaluate_model.attention import ELEMENTS, AttentionTable, AttentionTest
from components.evaluate_model.metrics import defined_mean
from components.experiments.results import SuiteResults
from components.experiments.tables import Table

SIGNIFICANT = 0.05


def attention_over_seeds(results: SuiteResults) -> dict[str, AttentionTable]:
    """Of each configuration whose evaluations compared attention: figures averaged over seeds.

    `p` is the largest of all seeds: what is significant, is so in every one.
    """
    found: dict[str, list[AttentionTable]] = {}
    for trial in results.plan.trials:
        if trial.done and (table := _read(trial.evaluation)) is not None:
            found.setdefault(trial.configuration, []).append(table)
    return {key: _joined(tables) for key, tables in found.items()}


def best_of(results: SuiteResults, tables: Mapping[str, AttentionTable]) -> str:
    """The configuration of the highest mean R² among those that `tables` has."""
    return max(tables, key=lambda key: float(np.mean([trial.mean_r2 for trial in results.trials[key].values()])))


def attention_table(results: SuiteResults, tables: Mapping[str, AttentionTable]) -> Table:
    """Change of each element's share of attention in per cent points, mean ± sd over layers and heads."""
    rows = []
    for item in results.suite.configurations:
        if item.key not in tables:
            continue
        tests = tables[item.key].tests
        changes = [[100 * (test.after - test.before) for test in tests if test.element == name] for name in ELEMENTS]
        significant = sum(test.p < SIGNIFICANT for test in tests)
        rows.append((item.label, *(_points(values) for values in changes), f"{significant} of {len(tests)}"))
    return Table(
        title="Change of the RNA encoder's attention, per cent points, mean ± sd over layers and heads",
        headings=("configuration", *ELEMENTS, f"p < {SIGNIFICANT} in every seed (Holm)"),
        rows=tuple(rows),
    )


def _points(values: Sequence[float]) -> str:
    known = [value for value in values if not np.isnan(value)]
    return f"{np.mean(known):+.1f} ± {np.std(known):.1f}" if known else "n/a"


def _read(evaluation: Path) -> AttentionTable | None:
    payload = open_artifact(evaluation, "evaluation").payload
    told = json.loads((payload / "metrics.json").read_text(encoding="utf-8")).get("attention")
    return AttentionTable.from_json(told) if told and told["tests"] else None


def _joined(tables: Sequence[AttentionTable]) -> AttentionTable:
    by_place = zip(*(table.tests for table in tables), strict=True)
    return AttentionTable(tables[0].before, tables[0].transcripts, tuple(_mean(tests) for tests in by_place))


def _mean(tests: Sequence[AttentionTest]) -> AttentionTest:
    """Of one layer, head and element over seeds."""
    before, after, effect = (
        float(defined_mean(np.array([getattr(test, name) for test in tests]))) for name in ("before", "after", "effect")
    )
    return AttentionTest(
        layer=tests[0].layer,
        head=tests[0].head,
        element=tests[0].element,
        genes=tests[0].genes,
        before=before,
        after=after,
        tokens=tests[0].tokens,
        effect=effect,
        p=float(np.max([test.p for test in tests])),  # NaN where a seed has none: not significant
    )
