"""The arithmetic of attention on genomic elements, on attention built by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from components.evaluate_model.attention import (
    ELEMENTS,
    attention_tests,
    element_shares,
    element_weights,
    token_shares,
)
from components.evaluate_model.metrics import GeneGroups
from model.tokenizers import crop_rna, sixmer_tokens


def test_six_mers_are_shared_by_their_nucleotides_and_cls_by_none():
    """20 nt are CLS, three six-mers and two single tokens; the CDS 4..15 begins and ends within six-mers."""
    weights = element_weights(sixmer_tokens("ACGT" * 5), 20, 4, 15)
    expected = [[0, 0, 0], [4 / 6, 2 / 6, 0], [0, 1, 0], [0, 3 / 6, 3 / 6], [0, 0, 1], [0, 0, 1]]
    np.testing.assert_allclose(weights, expected)


def test_an_unknown_base_is_a_token_of_its_own_and_shifts_the_frame():
    rna = "ACGTAC" + "N" + "ACGTAC"
    weights = element_weights(sixmer_tokens(rna), len(rna), 6, 7)
    np.testing.assert_allclose(weights, [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])


def test_of_a_cropped_rna_only_what_is_read_counts():
    """The 5'UTR is cropped away wholly: it has no share, and the others share what there is."""
    rna = "ACGTAC" * 10
    cropped = crop_rna(rna, 6)
    weights = element_weights(sixmer_tokens(cropped), len(rna), 12, 48)
    assert weights.sum(axis=0).tolist() == [0.0, 3.0, 2.0]
    received = np.full((1, 1, 6), 1 / 6)
    np.testing.assert_allclose(element_shares(received, weights)[0, 0], [np.nan, 0.6, 0.4])
    np.testing.assert_allclose(token_shares(weights), [np.nan, 0.6, 0.4])


def test_shares_leave_cls_out_and_follow_the_hand_built_attention():
    weights = element_weights(sixmer_tokens("ACGTAC" * 3), 18, 6, 12)
    received = np.array([[[0.4, 0.1, 0.2, 0.3], [0.0, 1.0, 0.0, 0.0]]])
    np.testing.assert_allclose(element_shares(received, weights), [[[1 / 6, 2 / 6, 3 / 6], [1.0, 0.0, 0.0]]])


def test_evenly_spread_attention_gives_the_token_shares():
    weights = element_weights(sixmer_tokens("ACGTACG" * 9), 63, 10, 41)
    received = np.full((2, 3, len(weights)), 0.25)
    np.testing.assert_allclose(element_shares(received, weights), np.tile(token_shares(weights), (2, 3, 1)))


def test_tests_are_paired_by_gene_and_corrected():
    """Equal to scipy's paired t-test on the means of each gene's transcripts."""
    generator = np.random.default_rng(0)
    groups = GeneGroups.of([f"g{number}" for number in generator.integers(25, size=60)])
    before = generator.random((60, 2, 2, 3))
    after = before + generator.normal(scale=0.05, size=before.shape)
    after[:, 1, 0, 2] += 0.2
    tests = attention_tests(before, after, generator.random((60, 3)), groups)
    assert len(tests) == 2 * 2 * len(ELEMENTS)
    means = [groups.sums(values) / groups.sizes[:, None, None, None] for values in (before, after)]
    raw = ttest_rel(means[1], means[0]).pvalue
    strongest = min(tests, key=lambda test: test.p)
    assert (strongest.layer, strongest.head, strongest.element) == (1, 0, "3'UTR")
    assert strongest.p == pytest.approx(raw[1, 0, 2] * 12)
    difference = (means[1] - means[0])[:, 1, 0, 2]
    assert strongest.effect == pytest.approx(difference.mean() / difference.std(ddof=1))
    assert strongest.genes == len(groups.names)


def test_equal_attention_and_few_genes_claim_nothing():
    shares = np.random.default_rng(0).random((8, 1, 1, 3))
    same = attention_tests(shares, shares, shares[:, 0, 0], GeneGroups.of([f"g{number}" for number in range(8)]))
    assert all(test.p == 1 and test.effect == 0 for test in same)
    few = attention_tests(shares, shares + 1, shares[:, 0, 0], GeneGroups.of(["a"] * 4 + ["b"] * 4))
    assert all(np.isnan(test.p) for test in few)
