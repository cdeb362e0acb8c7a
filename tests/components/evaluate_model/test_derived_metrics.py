"""Isoform shares, tau and gene totals equal arithmetic done gene by gene, also where nothing is expressed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

from components.evaluate_model.derived_metrics import (
    gene_totals,
    isoform_shares,
    share_distance,
    tissue_specificity,
    tpm,
)
from components.evaluate_model.metrics import GeneGroups
from components.evaluate_model.scores import Scorer


def data(rows: int = 120, genes: int = 40, tissues: int = 4) -> tuple[GeneGroups, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    groups = GeneGroups.of([f"g{number:02d}" for number in generator.integers(genes, size=rows)])
    observed = generator.exponential(size=(rows, tissues)).astype(np.float32)
    return groups, observed, (observed + generator.normal(size=observed.shape)).astype(np.float32)


def test_shares_and_their_distance_equal_the_sums_of_each_gene():
    groups, observed, predicted = data()
    shares, found = isoform_shares(predicted, groups), share_distance(observed, predicted, groups)
    for gene in range(len(groups.names)):
        rows = groups.gene == gene
        level, guess = np.expm1(observed[rows].astype(float)), np.expm1(np.maximum(predicted[rows].astype(float), 0))
        total = guess.sum(axis=0)
        expected = np.where(total > 0, guess / np.where(total > 0, total, 1), 1 / rows.sum())
        np.testing.assert_allclose(shares[rows], expected, rtol=1e-12)
        if rows.sum() == 1:
            assert np.isnan(found[gene]).all()
        else:
            np.testing.assert_allclose(found[gene], np.abs(level / level.sum(axis=0) - expected).sum(axis=0) / 2)


def test_distance_is_zero_for_the_truth_one_for_the_other_isoform_and_undefined_for_a_silent_gene():
    groups = GeneGroups.of(["a", "a", "b", "b", "c"])
    observed = np.array([[3.0], [0.0], [0.0], [0.0], [2.0]])
    assert share_distance(observed, observed, groups)[0, 0] == 0
    assert share_distance(observed, observed[[1, 0, 2, 3, 4]], groups)[0, 0] == 1
    assert np.isnan(share_distance(observed, observed, groups)[1:, 0]).all()


@pytest.mark.parametrize(
    ("profile", "tau"),
    [([1.0, 1.0, 1.0], 0.0), ([0.0, 4.0, 0.0], 1.0), ([2.0, 1.0, 1.0], 0.5), ([0.0, 0.0, 0.0], np.nan)],
)
def test_tau_of_known_profiles(profile, tau):
    np.testing.assert_allclose(tissue_specificity(np.array([profile])), [tau])


def test_tau_needs_two_tissues():
    assert np.isnan(tissue_specificity(np.ones((3, 1)))).all()


def test_scores_of_tau_and_gene_totals_equal_scipy_and_scikit_learn():
    groups, observed, predicted = data()
    means = Scorer(observed, groups, resamples=100, rank_resamples=100, confidence=0.95, seed=0).score(predicted).means
    expected = spearmanr(tissue_specificity(observed), np.nan_to_num(tissue_specificity(predicted))).statistic
    assert means["tau_spearman"].value == pytest.approx(expected)
    assert means["tau_spearman"].low < expected < means["tau_spearman"].high
    totals = [np.log1p(groups.sums(tpm(values))) for values in (observed, predicted)]
    np.testing.assert_allclose(gene_totals(observed, groups), totals[0])
    assert means["gene_total_r2"].value == pytest.approx(r2_score(*totals))


def test_where_nothing_is_expressed_nothing_is_claimed():
    groups = GeneGroups.of(["a", "a", "b"])
    silent = np.zeros((3, 2), dtype=np.float32)
    means = Scorer(silent, groups, resamples=100, rank_resamples=100, confidence=0.95, seed=0).score(silent + 1).means
    for name in ("share_distance", "tau_spearman", "gene_total_r2", "r2", "spearman"):
        assert np.isnan(means[name].value), name
