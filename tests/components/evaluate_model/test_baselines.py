"""Baselines read only what they say, are fitted on train and tuned on valid, and oracles know what they say."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from components.evaluate_model.baselines import HONEST, honest_predictions, oracle_predictions
from components.evaluate_model.examples import Examples
from components.evaluate_model.features import composition_features, composition_names, kmer_features
from components.evaluate_model.metrics import GeneGroups, r2_per_tissue
from components.sections import BaselineParams
from model.errors import InputError
from model.tokenizers import dna_string


@pytest.fixture(scope="module")
def splits(transcripts: Path) -> tuple[Examples, Examples, Examples]:
    payload = transcripts / "payload"
    return Examples.read(payload, "train"), Examples.read(payload, "valid"), Examples.read(payload, "test")


def test_composition_equals_counting_by_hand(splits):
    test = splits[2]
    found = composition_features(test, dna_bp=100)
    names = composition_names()
    assert found.shape == (len(test), len(names))
    for row in range(0, len(test), 7):
        rna, begin, end, protein = test.rna[row], test.cds_start[row], test.cds_end[row], test.protein[row]
        window = dna_string(test.window(row))
        middle = window[len(window) // 2 - 50 : len(window) // 2 + 50]
        utr3 = rna[end:] if begin >= 0 else ""
        expected = {
            "log1p length of rna": np.log1p(len(rna)),
            "log1p length of five_prime_utr": np.log1p(max(begin, 0)),
            "log1p length of three_prime_utr": np.log1p(len(utr3)),
            "log1p length of protein": np.log1p(len(protein)),
            "log1p exons": np.log1p(test.exons[row]),
            "has cds": float(begin >= 0),
            "G in rna": rna.count("G") / len(rna),
            "T in three_prime_utr": utr3.count("T") / max(1, len(utr3)),
            "C in dna window": middle.count("C") / 100,
            "L in protein": protein.count("L") / max(1, len(protein) - protein.count("X")),
        }
        for name, value in expected.items():
            assert found[row, names.index(name)] == pytest.approx(value, rel=1e-5), name


def test_kmer_counts_equal_counting_by_hand_and_span_no_two_transcripts(splits):
    test = splits[2]
    found = np.expm1(kmer_features(test, range(3, 9), nucleotides=2, residues=1, dna_bp=64))
    words = ["".join(pair) for pair in itertools.product("ACGT", repeat=2)]
    for row in range(6):
        for column, word in enumerate(words):
            rna = test.rna[row + 3]
            expected = sum(rna[start : start + 2] == word for start in range(len(rna)))
            assert found[row, column] == pytest.approx(expected, abs=1e-3)
    assert found.shape[1] == 16 + 16 + 20 + 5


def test_baselines_find_the_signal_that_they_can_see(splits):
    """Lengths carry part of these labels, a word of three letters another part; the tissue mean knows neither."""
    params = BaselineParams(kmer_nucleotides=3, kmer_residues=1, dna_bp=128)
    fitted = honest_predictions(*splits, params)
    r2 = {name: r2_per_tissue(splits[2].labels, predicted).mean() for name, predicted in fitted.predictions.items()}
    assert set(r2) == set(HONEST) - {"dna_alone"}  # a network, trained by itself
    assert abs(r2["tissue_mean"]) < 0.1
    assert min(r2["ridge"], r2["boosting"], r2["kmer_ridge"]) > 0.4
    assert set(fitted.penalties) == {"ridge", "kmer_ridge", "nearest_neighbour"}


def test_test_labels_do_not_reach_a_baseline(splits):
    train, valid, test = splits
    params = BaselineParams(kmer_nucleotides=2, kmer_residues=1, boosting_iterations=20)
    permuted = dataclasses.replace(test, labels=np.random.default_rng(0).permutation(test.labels))
    first, second = (honest_predictions(train, valid, part, params).predictions for part in (test, permuted))
    for name, predicted in first.items():
        np.testing.assert_array_equal(predicted, second[name])


def test_oracles_know_gene_mean_and_gene_total(splits):
    test = splits[2]
    groups = GeneGroups.of(test.gene_ids)
    found = oracle_predictions(test.labels, groups)
    rows = groups.gene == 0
    np.testing.assert_allclose(found["gene_mean"][rows][0], test.labels[rows].mean(axis=0), rtol=1e-5)
    share = np.log1p(np.expm1(test.labels[rows].astype(float)).mean(axis=0))
    np.testing.assert_allclose(found["uniform_share"][rows][0], share, rtol=1e-5)


def test_empty_split_is_told(transcripts):
    with pytest.raises(InputError, match="'nowhere'"):
        Examples.read(transcripts / "payload", "nowhere")
