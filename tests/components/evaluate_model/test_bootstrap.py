"""The bootstrap draws genes, equals naive resampling exactly, pairs what it compares, and takes seconds."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

from components.evaluate_model.bootstrap import (
    gene_mean_samples,
    gene_resamples,
    interval,
    r2_samples,
    spearman_samples,
)
from components.evaluate_model.metrics import GeneGroups
from components.evaluate_model.scores import Scorer


def data(rows: int, genes: int, tissues: int, *, ties: bool = False) -> tuple[GeneGroups, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    groups = GeneGroups.of([f"g{number}" for number in generator.integers(genes, size=rows)])
    observed = (generator.normal(size=(rows, tissues)) + 5).astype(np.float32)
    predicted = (observed + generator.normal(size=observed.shape)).astype(np.float32)
    if ties:
        observed, predicted = np.round(observed), np.round(predicted)
    return groups, observed, predicted


def test_every_resample_draws_as_many_genes_as_there_are():
    counts = gene_resamples(37, 50, seed=1)
    assert (counts.sum(axis=1) == 37).all()
    np.testing.assert_array_equal(counts, gene_resamples(37, 50, seed=1))
    assert (counts != gene_resamples(37, 50, seed=2)).any()


@pytest.mark.parametrize("ties", [False, True])
def test_samples_equal_metrics_on_data_resampled_by_hand(ties):
    groups, observed, predicted = data(200, 60, 3, ties=ties)
    counts = gene_resamples(len(groups.sizes), 150, seed=0)
    r2 = r2_samples(counts, groups, observed, predicted)
    spearman = spearman_samples(counts, groups, observed, predicted)
    for draw in (0, 63, 64, 149):
        rows = np.repeat(np.arange(200), counts[draw][groups.gene])
        for tissue in range(3):
            y, p = observed[rows, tissue].astype(float), predicted[rows, tissue].astype(float)
            assert r2[draw, tissue] == pytest.approx(r2_score(y, p), abs=1e-9)
            assert spearman[draw, tissue] == pytest.approx(spearmanr(y, p).statistic, abs=1e-5)


def test_constant_sides_are_undefined_on_every_resample():
    groups, observed, predicted = data(60, 20, 2)
    counts = gene_resamples(len(groups.sizes), 100, seed=0)
    assert np.isnan(spearman_samples(counts, groups, observed, np.full_like(predicted, 0.1))).all()
    assert np.isnan(r2_samples(counts, groups, np.full_like(observed, 0.1), predicted)).all()


def test_intervals_of_a_mean_over_genes_cover_as_often_as_they_say():
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        values = generator.exponential(size=80)
        bounds = interval(values.mean(), gene_mean_samples(gene_resamples(80, 400, seed=trial), values), 0.95)
        covered += bounds.low <= 1 <= bounds.high
    assert 0.90 <= covered / 300 <= 0.98


def test_intervals_are_wider_when_isoforms_of_a_gene_err_together():
    """Drawing transcripts would miss it: that is why genes are drawn."""
    generator = np.random.default_rng(0)
    gene = np.repeat(np.arange(100), 8)
    together = np.abs(generator.normal(size=100))[gene]
    apart = np.abs(generator.normal(size=800))
    widths = []
    for error in (together, apart):
        groups = GeneGroups.of([f"g{number:03d}" for number in gene])
        observed = generator.normal(size=(800, 1))
        draws = r2_samples(gene_resamples(100, 500, seed=0), groups, observed, observed + error[:, None])
        bounds = interval(0.5, draws[:, 0], 0.95)
        widths.append(bounds.high - bounds.low)
    assert widths[0] > 1.5 * widths[1]


def test_paired_difference_is_narrower_than_the_parts_and_has_a_sign():
    groups, observed, predicted = data(600, 200, 4)
    scorer = Scorer(observed, groups, resamples=400, rank_resamples=100, confidence=0.95, seed=0)
    better, worse = scorer.score(predicted), scorer.score(predicted + 0.15)
    gain, loss = scorer.gain(better, worse), scorer.gain(worse, better)
    assert gain.low > 0 > loss.high
    assert gain.value == pytest.approx(-loss.value)
    assert gain.high - gain.low < better.means["r2"].high - better.means["r2"].low


def test_five_thousand_transcripts_in_thirty_tissues_take_seconds():
    """2,000 resamples of R² and of Spearman; the bound leaves room for a busy machine."""
    groups, observed, predicted = data(5000, 1500, 30)
    counts = gene_resamples(len(groups.sizes), 2000, seed=0)
    started = time.process_time()
    r2_samples(counts, groups, observed, predicted)
    spearman_samples(counts, groups, observed, predicted)
    assert time.process_time() - started < 20
