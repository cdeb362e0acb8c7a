"""A registry's champion becomes an input of the evaluation, and is run anew rather than trusted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from packaging_inputs import TISSUES, Packaged, packaged, write_model

from components.artifacts import digest_of
from components.champion import find_champion
from components.evaluate_model.champion_prediction import predict_champion
from components.evaluate_model.examples import Examples
from components.evaluate_model.prediction import predict
from model.errors import InputError
from model.predictor import Predictor
from model.torch_backend import TorchBackend
from model.weights import load_model


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    return packaged(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def challenger(package: Packaged, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model than the champion."""
    place = tmp_path_factory.mktemp("challenger") / "model"
    write_model(place, package.inputs["transcripts"], seed=7)
    return place


def test_an_empty_registry_has_no_champion(challenger, tmp_path):
    assert find_champion(str(tmp_path / "nowhere"), challenger, tmp_path / "work") == {}
    assert not (tmp_path / "nowhere").exists()


def test_a_model_is_not_compared_with_itself(package, tmp_path):
    assert find_champion(str(package.registry), package.inputs["model"], tmp_path) == {}


def test_the_champion_is_the_same_input_wherever_the_registry_lies(package, challenger, tmp_path):
    first = find_champion(str(package.registry), challenger, tmp_path / "one")["champion"]
    shutil.copytree(package.registry, tmp_path / "moved")
    second = find_champion(str(tmp_path / "moved"), challenger, tmp_path / "two")["champion"]
    assert digest_of(first) == digest_of(second)
    again = find_champion(str(package.registry), challenger, tmp_path / "one")["champion"]
    assert digest_of(again) == digest_of(first)
    assert {file.name for file in first.iterdir()} == {"champion.json", "config.json", "model.onnx", "model.dna.onnx"}


def test_the_champion_answers_as_the_network_that_was_packaged(package, challenger, transcripts, tmp_path):
    folder = find_champion(str(package.registry), challenger, tmp_path)["champion"]
    test = Examples.read(transcripts / "payload", "test")
    found = predict_champion(folder, test, TISSUES, threads=1)
    network = load_model(package.inputs["model"] / "payload")
    expected = predict(Predictor(TorchBackend(network), network.config), test, network.config.modalities)
    np.testing.assert_allclose(found.predicted, expected, atol=1e-4)
    assert found.model_digest == digest_of(package.inputs["model"])
    assert found.transcripts == digest_of(package.inputs["transcripts"])


def test_a_champion_of_other_tissues_and_a_damaged_one_are_refused(package, challenger, transcripts, tmp_path):
    folder = find_champion(str(package.registry), challenger, tmp_path)["champion"]
    test = Examples.read(transcripts / "payload", "test")
    with pytest.raises(InputError, match="tissues"):
        predict_champion(folder, test, ("Blood", "Brain", "Liver", "Lung"), threads=1)
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "champion.json").write_text(json.dumps({"version": "1"}))
    with pytest.raises(InputError, match="champion's files"):
        predict_champion(broken, test, TISSUES, threads=1)


def test_a_damaged_registry_is_refused_by_name(package, challenger, tmp_path):
    shutil.copytree(package.registry, tmp_path / "registry")
    graph = next((tmp_path / "registry").rglob("model.onnx"))
    graph.chmod(0o644)
    graph.write_bytes(graph.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"model\.onnx"):
        find_champion(str(tmp_path / "registry"), challenger, tmp_path / "work")
