"""A stored model is read back whole, or refused with the names of what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.adapters import add_lora
from model.card import CardFacts
from model.config import IsoFormerConfig
from model.errors import InputError
from model.isoformer import IsoFormer
from model.provenance import LoadReport
from model.weights import load_model, save_model, save_pretrained

ORIGIN = LoadReport(
    part="rna",
    layout="huggingface-nt-v2",
    files={"nt.safetensors": "ab12"},
    tensors=3,
    parameters=40,
    dtype="F32",
    licence="Nucleotide Transformer v2 weights: non-commercial use only",
    ignored={"masked language head": ("lm_head.bias",)},
    new=("head.inner.bias",),
    notes=("a note",),
)


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


def test_save_and_from_pretrained(small_config: IsoFormerConfig, tmp_path: Path) -> None:
    """The Hugging Face way: one call each, the output's scale and the origin of the weights included."""
    torch.manual_seed(0)
    model = IsoFormer(small_config)
    model.origins = {"rna": ORIGIN}
    model.save_pretrained(tmp_path / "model", CardFacts(data_version="v7", metrics={"r2": 0.5}, simulated=True))
    assert sorted(file.name for file in (tmp_path / "model").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    again = IsoFormer.from_pretrained(str(tmp_path / "model"))
    assert again.config == small_config
    assert torch.equal(again.to_log1p(torch.ones(1, 3)), torch.tensor([[1.5, 3.0, 5.0]]))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert again.origins == model.origins
    again.save_pretrained(tmp_path / "again", CardFacts(data_version="v7", metrics={"r2": 0.5}, simulated=True))
    for file in (tmp_path / "model").iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_the_card_tells_data_metrics_and_licences(small_config: IsoFormerConfig, tmp_path: Path) -> None:
    """A YAML head that Hugging Face's own reader takes, and the same facts for people."""
    from huggingface_hub import ModelCard

    model = IsoFormer(small_config)
    model.origins = {"rna": ORIGIN}
    facts = CardFacts(data_version="v7", metrics={"r2": 0.5123}, simulated=True)
    model.save_pretrained(tmp_path / "model", facts)
    card = ModelCard.load(tmp_path / "model" / "README.md")
    head = card.data.to_dict()
    assert head["license"] == "other"
    assert head["isoformer"]["data_version"] == "v7"
    assert head["isoformer"]["metrics"] == {"r2": 0.5123}
    assert head["isoformer"]["initial_weights"][0]["files"] == {"nt.safetensors": "ab12"}
    for text in ("non-commercial", "ab12", "v7", "0.5123", "simulated", "new head", "a note"):
        assert text in card.text, text
    IsoFormer(small_config).save_pretrained(tmp_path / "plain")
    plain = ModelCard.load(tmp_path / "plain" / "README.md")
    assert plain.data.to_dict()["license"] == "apache-2.0"
    assert "initialised at random" in plain.text


def test_large_weights_are_sharded_as_hugging_face_does(small_config: IsoFormerConfig, tmp_path: Path) -> None:
    """Above the limit: numbered files and an index; read back bit by bit; a shard that is gone is named."""
    model = IsoFormer(small_config)
    folder = tmp_path / "model"
    save_pretrained(model, folder, max_shard_bytes=20_000)
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert not (folder / "model.safetensors").exists()
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == model.state_dict().keys()
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in model.state_dict().values())
    again = load_model(folder)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    shards[1].unlink()
    with pytest.raises(InputError, match=shards[1].name):
        load_model(folder)


def test_a_folder_that_holds_something_is_left_alone(small_config: IsoFormerConfig, tmp_path: Path) -> None:
    """Saving never mixes two models, and a refused save leaves nothing."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="new or empty folder"):
        IsoFormer(small_config).save_pretrained(tmp_path / "model")
    model = IsoFormer(small_config)
    add_lora(model, ["rna"], rank=2, alpha=2.0)
    with pytest.raises(ValueError, match="merge_lora"):
        model.save_pretrained(tmp_path / "adapted")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    with pytest.raises(InputError, match="nothing is downloaded"):
        IsoFormer.from_pretrained("someone/isoformer")
