"""Configurations are read strictly and come back equal."""

import json

import pytest

from components.params import load_params
from components.train_model.network import build_config
from model.config import EnformerConfig, IsoFormerConfig
from model.errors import InputError
from model.presets import PRESETS, encoder, esm2, nucleotide_transformer, preset


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip_gives_an_equal_configuration(name: str) -> None:
    config = preset(name)
    assert IsoFormerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"windwo_bp": 512}, "Did you mean 'window_bp'"),
        ({"window_bp": "512"}, "expected int, found '512'"),
        ({"window_bp": 513}, "a multiple of 16 bp"),
        ({"fusion": {"kind": "sum"}}, "expected one of cross_attention"),
        ({"rna": {"alphabet": "sixmer"}}, "all required keys"),
        ({"dna": None, "rna": None, "protein": None}, "at least one encoder"),
    ],
)
def test_a_wrong_key_or_value_is_named(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        IsoFormerConfig.from_dict({**preset("tiny").to_dict(), **change})


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [("rna", {"heads": 3}, "even number of channels"), ("dna", {"position_features": 10}, "multiple of 6")],
)
def test_sizes_that_do_not_divide_are_refused(part: str, change: dict[str, int], message: str) -> None:
    """Head counts and feature counts that cannot be are refused when the configuration is read."""
    data = preset("tiny").to_dict()
    data[part].update(change)
    with pytest.raises(InputError, match=message):
        IsoFormerConfig.from_dict(data)


def test_published_encoders_have_names() -> None:
    """Each published size by name, and only for the modality that it reads."""
    assert encoder("rna", "nt-v2-50m") == nucleotide_transformer("50m")
    assert encoder("dna", "nt-v2-500m") == nucleotide_transformer("500m")
    assert encoder("protein", "esm2-8m") == esm2("8m")
    assert isinstance(encoder("dna", "enformer"), EnformerConfig)
    for modality, name in (("protein", "nt-v2-50m"), ("rna", "enformer"), ("rna", "nt-v3"), ("tissue", "enformer")):
        with pytest.raises(InputError, match=f"encoder of {modality}"):
            encoder(modality, name)


def test_an_encoder_is_overridden_by_name() -> None:
    """`model.overrides: {rna: nt-v2-50m}` replaces the whole encoder of the preset."""
    params = load_params(
        None, preset="sanity", overrides=["model.overrides={rna: nt-v2-50m, fusion: {absent: learned}}"]
    )
    config = build_config(params, {"tissues": ["Brain"], "label_mean": [0.0], "label_std": [1.0]})
    assert config.rna == nucleotide_transformer("50m")
    assert config.fusion.absent == "learned"


def test_overrides_of_an_encoder_wait_until_it_is_chosen() -> None:
    """A suite of modalities takes one set of overrides for all its subsets."""
    overrides = ["model.overrides={rna: nt-v2-50m, protein: {layers: 3}}", "model.modalities=[dna, protein]"]
    params = load_params(None, preset="sanity", overrides=overrides)
    config = build_config(params, {"tissues": ["Brain"], "label_mean": [0.0], "label_std": [1.0]})
    assert config.modalities == ("dna", "protein")
    assert config.protein is not None
    assert config.protein.layers == 3
