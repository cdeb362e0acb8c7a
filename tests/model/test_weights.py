"""A stored model is read back whole, or refused with the names of what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.config import IsoFormerConfig
from model.errors import InputError
from model.isoformer import IsoFormer
from model.weights import load_model, save_model


@pytest.fixture
def folder(small_config: IsoFormerConfig, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(IsoFormer(small_config), tmp_path)
    return tmp_path


def test_round_trip(folder: Path, small_config: IsoFormerConfig) -> None:
    """Configuration and every tensor come back bit by bit, and saving again gives the same bytes."""
    model = load_model(folder)
    assert model.config == small_config
    assert not model.training
    torch.manual_seed(0)
    for name, value in IsoFormer(small_config).state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    again = folder / "again"
    again.mkdir()
    save_model(model, again)
    for name in ("config.json", "model.safetensors"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_reading_leaves_the_random_numbers_alone(folder: Path) -> None:
    """Loading a model does not move torch's generator."""
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    load_model(folder)
    assert torch.equal(torch.rand(2), expected)


def test_what_does_not_fit_is_named_and_refused(folder: Path) -> None:
    """A missing, an unexpected and a misshapen tensor are all named in one error."""
    tensors = load_file(folder / "model.safetensors")
    del tensors["head.inner.bias"]
    tensors["head.extra"] = torch.zeros(2)
    tensors["head.outer.bias"] = torch.zeros(5)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(InputError) as caught:
        load_model(folder)
    for part in ("missing head.inner.bias (", "unexpected head.extra (2,)", "misshapen head.outer.bias (5,) instead"):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_file_is_one_clear_line(folder: Path, name: str) -> None:
    """Truncated or absent files are an InputError that names the file."""
    path = folder / name
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=name):
        load_model(folder)
    path.unlink()
    with pytest.raises(InputError, match=name):
        load_model(folder)


def test_an_unknown_key_of_the_configuration_is_refused(folder: Path) -> None:
    """config.json is read strictly."""
    config = json.loads((folder / "config.json").read_text())
    config["widnow_bp"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="window_bp"):
        load_model(folder)
