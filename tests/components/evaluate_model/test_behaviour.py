"""Permuted tissues, batches, padding and ablated inputs: what is measured equals what is done by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.evaluate_model.ablations import (
    ablated_predictions,
    donors_within_gene,
    presence,
    shuffled_predictions,
)
from components.evaluate_model.behaviour import measure_behaviour, tissue_identity
from components.evaluate_model.examples import Examples
from components.evaluate_model.metrics import GeneGroups, profile_correlation
from components.evaluate_model.prediction import predict, transcript_input
from components.sections import EvaluateParams
from model.predictor import Predictor
from model.torch_backend import TorchBackend
from model.weights import load_model


@pytest.fixture(scope="module")
def test_split(transcripts: Path) -> Examples:
    return Examples.read(transcripts / "payload", "test")


@pytest.fixture(scope="module")
def network(untrained_model: Path):
    return load_model(untrained_model / "payload")


@pytest.fixture(scope="module")
def predictor(network) -> Predictor:
    return Predictor(TorchBackend(network), network.config)


def profiles(rows: int = 200, tissues: int = 8) -> tuple[GeneGroups, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    groups = GeneGroups.of([f"g{number}" for number in generator.integers(60, size=rows)])
    observed = generator.normal(size=(rows, tissues))
    return groups, observed, observed + generator.normal(size=observed.shape)


def test_identity_equals_the_mean_over_genes_and_falls_to_zero_when_permuted():
    groups, observed, predicted = profiles()
    found = tissue_identity(observed, predicted, groups, seed=0)
    correlation = profile_correlation(observed, predicted)
    by_gene = [correlation[groups.gene == gene].mean() for gene in range(len(groups.names))]
    assert found.correlation == pytest.approx(np.mean(by_gene))
    draws = []
    for seed in range(200):
        order = np.random.default_rng([1, seed]).permutation(observed.shape[1])
        permuted = profile_correlation(observed, predicted[:, order])
        draws.append(np.mean([permuted[groups.gene == gene].mean() for gene in range(len(groups.names))]))
    assert found.permuted == pytest.approx(np.mean(draws), abs=0.05)
    assert abs(found.permuted) < 0.02
    assert found.p < 0.005


def test_a_prediction_with_its_tissues_exchanged_is_caught():
    groups, observed, predicted = profiles()
    assert tissue_identity(observed, np.roll(predicted, 3, axis=1), groups, seed=0).p > 0.05
    assert tissue_identity(observed, np.ones_like(predicted), groups, seed=0).p == 1


def test_batches_and_padding_change_an_untrained_model_by_rounding_only(network, predictor, test_split):
    items = [transcript_input(test_split, row, predictor.config.modalities) for row in range(12)]
    found = measure_behaviour(predictor, network, items, onnx_folder=None)
    assert 0 <= found.batches < 1e-4
    assert 0 <= found.padding < 1e-4
    assert found.onnx is None


class Leaky:
    """A backend that adds the batch's mean to each answer: the flaw that the rule is for."""

    def __init__(self, backend: TorchBackend) -> None:
        self.backend = backend

    def run(self, batch):
        predicted = self.backend.run(batch)
        return predicted + predicted.mean(axis=0)


def test_a_model_whose_answer_depends_on_its_neighbours_is_caught(network, predictor, test_split):
    items = [transcript_input(test_split, row, predictor.config.modalities) for row in range(12)]
    leaky = Predictor(Leaky(predictor.backend), predictor.config)
    assert measure_behaviour(leaky, network, items, onnx_folder=None).batches > 1e-3


def test_donors_within_a_gene_are_its_other_isoforms():
    groups = GeneGroups.of(["b", "a", "b", "c", "b", "a"])
    np.testing.assert_array_equal(donors_within_gene(groups), [2, 5, 4, 3, 0, 1])


def test_ablations_take_away_only_what_the_model_was_trained_without(predictor, test_split):
    modalities = predictor.config.modalities
    predicted = predict(predictor, test_split, modalities)
    lacking = {name: float(1 - has.mean()) for name, has in presence(test_split).items()}
    found = ablated_predictions(
        predictor, test_split, modalities, predicted=predicted, trained_without=lacking, params=EvaluateParams()
    )
    assert set(found) == {"without_protein", "isoforms_permuted", "random_dna"}
    has_protein = presence(test_split)["protein"]
    np.testing.assert_allclose(found["without_protein"][~has_protein], predicted[~has_protein], atol=1e-5)
    assert (np.abs(found["without_protein"] - predicted)[has_protein].max(axis=1) > 1e-6).all()
    assert (np.abs(found["random_dna"] - predicted).max(axis=1) > 1e-6).all()
    again = predict(predictor, test_split, modalities, random_dna_seed=0)
    np.testing.assert_array_equal(again, found["random_dna"])


def test_shuffling_names_every_modality(predictor, test_split):
    assert set(shuffled_predictions(predictor, test_split, ("rna", "protein"), seed=0)) == {"rna", "protein"}


def test_a_window_of_another_length_has_the_same_tss(test_split):
    for row in range(8):
        own, shorter = test_split.window(row), test_split.window(row, window_bp=100)
        np.testing.assert_array_equal(shorter, own[len(own) // 2 - 50 : len(own) // 2 + 50])
        longer = test_split.window(row, window_bp=1000)
        np.testing.assert_array_equal(longer[500 - len(own) // 2 : 500 + len(own) // 2], own)
