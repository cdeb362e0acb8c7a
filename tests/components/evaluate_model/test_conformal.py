"""Intervals cover as often as they say, per gene, on simulated and on real prediction errors."""

from __future__ import annotations

import numpy as np
import pytest

from components.calibration_genes import calibration_genes
from components.evaluate_model.conformal import calibrate, intervals_json
from components.evaluate_model.metrics import GeneGroups


def test_half_width_is_the_weighted_quantile_worked_by_hand():
    """Three genes weigh 1/4 each, the unseen one too: 0.75 is reached by the largest error, 0.8 never."""
    groups = GeneGroups.of(["a", "a", "b", "c"])
    observed, predicted = np.zeros((4, 1)), np.array([[1.0], [3.0], [2.0], [4.0]])
    assert calibrate(observed, predicted, groups, 0.5).half_width[0] == 3  # 1/8 + 1/4 + 1/8 of weight up to 3
    assert calibrate(observed, predicted, groups, 0.75).half_width[0] == 4
    assert np.isnan(calibrate(observed, predicted, groups, 0.8).half_width[0])


def hierarchical(generator: np.random.Generator, genes: int) -> tuple[list[str], np.ndarray]:
    """Errors whose isoforms err together, in genes of very different sizes."""
    sizes = generator.geometric(0.3, size=genes)
    gene = np.repeat(np.arange(genes), sizes)
    # Genes with many isoforms err more: transcripts are not exchangeable, genes are.
    scale = 1 + sizes[gene][:, None] / 5
    error = scale * (generator.normal(size=(genes, 2))[gene] + generator.normal(size=(len(gene), 2)))
    return [f"g{number}" for number in gene], error


def mean_coverage(gene_ids: list[str], error: np.ndarray, level: float, resplits: int = 200) -> float:
    """Mean coverage per gene over re-splits of the genes into calibration and test halves."""
    genes = np.array(sorted(set(gene_ids)))
    covered = []
    for seed in range(resplits):
        chosen = set(np.random.default_rng(seed).permutation(genes)[: len(genes) // 2].tolist())
        inside = np.array([gene in chosen for gene in gene_ids])
        parts = []
        for rows in (np.flatnonzero(inside), np.flatnonzero(~inside)):
            parts.append((error[rows], GeneGroups.of([gene_ids[row] for row in rows])))
        (own, own_groups), (other, other_groups) = parts
        intervals = calibrate(own, np.zeros_like(own), own_groups, level)
        covered.append(intervals.coverage(other, np.zeros_like(other), other_groups)[0].mean())
    return float(np.mean(covered))


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_simulated_coverage_is_within_two_points_over_200_resplits(level):
    gene_ids, error = hierarchical(np.random.default_rng(0), 300)
    assert mean_coverage(gene_ids, error, level) == pytest.approx(level, abs=0.02)


def test_coverage_of_real_errors_is_within_two_points_over_200_resplits(two_models):
    error = two_models.challenger - two_models.observed
    assert mean_coverage(two_models.gene_ids, error, 0.9) == pytest.approx(0.9, abs=0.02)


def test_calibration_genes_are_the_same_everywhere_and_never_all():
    genes = [f"g{number}" for number in range(101)]
    chosen = calibration_genes(genes, 0.5)
    assert len(chosen) == 50
    assert calibration_genes(reversed(genes), 0.5) == chosen
    assert calibration_genes(["only"], 0.99) == set()
    assert calibration_genes(genes, 0.0) == set()


def test_json_says_what_coverage_it_is_and_names_every_tissue():
    gene_ids, error = hierarchical(np.random.default_rng(1), 60)
    groups = GeneGroups.of(gene_ids)
    intervals = calibrate(error, np.zeros_like(error), groups, 0.9)
    told = intervals_json(intervals, ("Brain", "Liver"), error, np.zeros_like(error), groups)
    assert told["coverage"] == "per gene"
    assert set(told["half_width"]) == {"Brain", "Liver"}
    assert told["test_coverage"]["per_gene"] >= 0.9
    assert told["calibration"]["genes"] == 60
