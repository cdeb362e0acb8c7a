"""Tables of a suite as plain text cells, from which HTML, Markdown and LaTeX are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.experiments.comparison import Comparison
from components.experiments.length_baseline import LABEL, LengthBaseline
from components.experiments.published import DnaEncoder, Published, published_row
from components.experiments.results import SuiteResults

ABSENT = "–"


@dataclass(frozen=True, kw_only=True)
class Table:
    """`emphasised`: indices of rows that stand out (the best). `text_columns`: columns at the left that are text."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    emphasised: frozenset[int] = frozenset()
    text_columns: int = 1


def scores_table(results: SuiteResults, baseline: LengthBaseline | None, dna_encoder: DnaEncoder) -> Table:
    """The paper's form: one row per configuration, mean ± sd over seeds, the published row beside ours."""
    planned = len(results.seeds)
    with_ceiling = bool(results.ceilings) and results.simulated
    rows, means = [], []
    for item in results.suite.configurations:
        done = list(results.trials.get(item.key, {}).values())
        r2, spearman = [trial.mean_r2 for trial in done], [trial.mean_spearman for trial in done]
        means.append(float(np.mean(r2)) if r2 else float("-inf"))
        published = published_row(results.suite.key, item.key, dna_encoder)
        ceiling = results.ceilings.get(results.modalities(item) or "")
        rows.append(
            (
                item.label,
                spread(r2),
                spread(spearman),
                *([ABSENT if ceiling is None else f"{ceiling:.3f}"] if with_ceiling else []),
                *_published_cells(published),
                str(planned) if len(done) == planned else f"{len(done)} of {planned}",
            )
        )
    best = frozenset({int(np.argmax(means))}) if len(rows) > 1 and max(means) > float("-inf") else frozenset()
    if baseline is not None:
        gap = [ABSENT] * (3 if with_ceiling else 2)
        rows.append((LABEL, f"{baseline.r2:.3f}", f"{baseline.spearman:.3f}", *gap, ABSENT))
    return Table(
        title=results.suite.title,
        headings=(
            "input" if results.suite.key == "modalities" else "configuration",
            "R²",
            "Spearman",
            *(["R² attainable"] if with_ceiling else []),
            "published R²",
            "published Spearman",
            "seeds",
        ),
        rows=tuple(rows),
        emphasised=best,
    )


def comparison_table(results: SuiteResults, comparisons: Sequence[Comparison]) -> Table:
    """Differences in R² with intervals over genes and seeds, and their p values."""
    labels = {item.key: item.label for item in results.suite.configurations}
    return Table(
        title="Paired differences in R², same genes and seeds on both sides",
        headings=(
            "first",
            "second",
            "difference",
            "95 % interval",
            "p genes and seeds",
            "p, Holm",
            "p seeds (t)",
            "seeds",
        ),
        rows=tuple(
            (
                labels[item.first],
                labels[item.second],
                f"{item.difference.value:+.3f}",
                f"{item.difference.low:+.3f} to {item.difference.high:+.3f}",
                probability(item.p_genes_seeds),
                probability(item.p_holm),
                ABSENT if item.p_seeds is None else probability(item.p_seeds),
                str(item.seeds),
            )
            for item in comparisons
        ),
        text_columns=2,
    )


def tissue_table(results: SuiteResults, comparisons: Sequence[Comparison]) -> Table:
    """Per tissue, the difference in R² of each configuration to the reference; * = the interval leaves out 0."""
    labels = {item.key: item.label for item in results.suite.configurations}
    rows = []
    for index, tissue in enumerate(results.tissues):
        cells = []
        for item in comparisons:
            figure = item.per_tissue[index]
            clear = "*" if figure.low > 0 or figure.high < 0 else ""
            cells.append("n/a" if np.isnan(figure.value) else f"{figure.value:+.3f}{clear}")
        rows.append((tissue, *cells))
    return Table(
        title=f"R² gained over {labels[comparisons[0].second]}, per tissue (* the 95 % interval leaves out 0)",
        headings=("tissue", *(labels[item.first] for item in comparisons)),
        rows=tuple(rows),
    )


def spread(values: Sequence[float]) -> str:
    """Mean ± sample deviation over seeds; one seed has no deviation."""
    if not values:
        return ABSENT
    if any(np.isnan(values)):
        return "n/a"
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


def probability(value: float) -> str:
    """A p value as tables show it."""
    return "n/a" if np.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def _published_cells(row: Published | None) -> tuple[str, str]:
    if row is None:
        return ABSENT, ABSENT
    pairs = ((row.r2, row.r2_sd), (row.spearman, row.spearman_sd))
    first, second = (
        ABSENT if value is None else f"{value:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")
        for value, deviation in pairs
    )
    return first, second
