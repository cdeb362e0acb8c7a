"""Metrics equal scikit-learn's and scipy's wherever those are defined, and say so where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

from components.evaluate_model.metrics import (
    GeneGroups,
    defined_mean,
    pearson,
    profile_correlation,
    r2_per_tissue,
    ranks_isoforms,
    skill,
    spearman_per_tissue,
    within_gene_spearman,
    within_gene_top1,
)

small_tables = st.tuples(st.integers(2, 40), st.integers(1, 4), st.integers(0, 2**32 - 1), st.booleans())


def random_pair(rows: int, tissues: int, seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    observed, predicted = generator.normal(size=(2, rows, tissues)).astype(np.float32)
    return (np.round(observed), np.round(predicted)) if ties else (observed, predicted)


@settings(deadline=None, max_examples=60)
@given(small_tables)
def test_r2_equals_scikit_learn(table):
    observed, predicted = random_pair(*table)
    expected = [
        r2_score(observed[:, t], predicted[:, t]) if np.ptp(observed[:, t]) else np.nan
        for t in range(observed.shape[1])
    ]
    np.testing.assert_allclose(r2_per_tissue(observed, predicted), expected, rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(small_tables)
def test_spearman_equals_scipy_also_with_ties(table):
    observed, predicted = random_pair(*table)
    expected = [
        spearmanr(observed[:, t], predicted[:, t]).statistic
        if np.ptp(observed[:, t]) and np.ptp(predicted[:, t])
        else np.nan
        for t in range(observed.shape[1])
    ]
    np.testing.assert_allclose(spearman_per_tissue(observed, predicted), expected, atol=1e-12)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6 / 3])
def test_constant_prediction_is_undefined_in_tables_and_no_skill_at_gates(constant):
    """Also for constants whose mean is not exactly the constant in floating point."""
    observed = np.random.default_rng(0).normal(size=(50, 2))
    spearman = spearman_per_tissue(observed, np.full((50, 2), constant))
    assert np.isnan(spearman).all()
    assert (skill(spearman) == 0).all()


def test_tissue_that_is_all_zero_is_left_out_of_the_mean():
    observed = np.random.default_rng(0).normal(size=(50, 3))
    observed[:, 1] = 0
    r2 = r2_per_tissue(observed, observed + 0.1)
    assert np.isnan(r2[1])
    assert defined_mean(r2) == pytest.approx((r2[0] + r2[2]) / 2)


def test_perfect_and_mean_predictions_have_r2_one_and_zero():
    observed = np.random.default_rng(0).normal(size=(50, 3))
    np.testing.assert_allclose(r2_per_tissue(observed, observed), 1)
    np.testing.assert_allclose(r2_per_tissue(observed, np.tile(observed.mean(axis=0), (50, 1))), 0, atol=1e-12)


def test_r2_is_not_symmetric():
    """Observed and predicted cannot be swapped unnoticed."""
    observed, predicted = random_pair(50, 1, 0, False)
    assert r2_per_tissue(observed, 3 * predicted)[0] != pytest.approx(r2_per_tissue(3 * predicted, observed)[0])


def test_pearson_equals_numpy():
    first, second = np.random.default_rng(0).normal(size=(2, 30))
    assert pearson(first, second) == pytest.approx(np.corrcoef(first, second)[0, 1])


def random_genes(rows: int, genes: int, seed: int) -> GeneGroups:
    return GeneGroups.of([f"g{number}" for number in np.random.default_rng(seed).integers(genes, size=rows)])


@settings(deadline=None, max_examples=30)
@given(small_tables)
def test_within_gene_spearman_equals_scipy_gene_by_gene(table):
    observed, predicted = random_pair(*table)
    groups = random_genes(len(observed), max(1, len(observed) // 4), table[2])
    found = within_gene_spearman(observed, predicted, groups)
    for gene in range(len(groups.names)):
        rows = groups.gene == gene
        for tissue in range(observed.shape[1]):
            y, p = observed[rows, tissue], predicted[rows, tissue]
            if np.ptp(y) == 0:
                assert np.isnan(found[gene, tissue])
            else:
                expected = spearmanr(y, p).statistic if np.ptp(p) else 0.0
                assert found[gene, tissue] == pytest.approx(expected, abs=1e-12)


def test_top1_counts_hits_ties_and_chance():
    groups = GeneGroups.of(["a", "a", "b", "b", "b", "c", "d", "d"])
    observed = np.array([[2.0], [1.0], [0.0], [3.0], [1.0], [9.0], [5.0], [5.0]])
    predicted = np.array([[1.0], [0.0], [2.0], [2.0], [0.0], [0.0], [1.0], [0.0]])
    hit, chance = within_gene_top1(observed, predicted, groups)
    np.testing.assert_allclose(hit[:, 0], [1.0, 0.5, np.nan, np.nan])  # b: one of two tied tops is right
    np.testing.assert_allclose(chance[:, 0], [1 / 2, 1 / 3, np.nan, np.nan])  # c: one isoform, d: all equal


def test_one_gene_with_one_isoform_has_nothing_to_rank():
    groups = GeneGroups.of(["a"])
    values = np.array([[1.0, 2.0]])
    assert np.isnan(within_gene_spearman(values, values, groups)).all()
    assert not ranks_isoforms(values, groups)


def test_genes_are_grouped_wherever_their_transcripts_stand():
    groups = GeneGroups.of(["b", "a", "b", "c"])
    assert groups.names == ("a", "b", "c")
    np.testing.assert_array_equal(groups.sums(np.array([1.0, 2.0, 4.0, 8.0])), [2, 5, 8])


def test_profile_correlation_falls_to_zero_when_tissues_are_permuted():
    """A prediction that knows only each transcript's level and each tissue's mean scores about 0, too."""
    generator = np.random.default_rng(0)
    level, tissue = generator.normal(size=(400, 1)), generator.normal(size=(1, 30))
    observed = level + tissue + generator.normal(size=(400, 30))
    predicted = observed + 0.3 * generator.normal(size=(400, 30))
    assert defined_mean(profile_correlation(observed, predicted)) > 0.9
    assert abs(defined_mean(profile_correlation(observed, np.roll(predicted, 7, axis=1)))) < 0.05
    assert defined_mean(profile_correlation(observed, level + tissue)) == 0
