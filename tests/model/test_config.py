"""Configurations are read strictly and come back equal."""

import json

import pytest

from model.config import IsoFormerConfig
from model.errors import InputError
from model.presets import PRESETS, preset


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip_gives_an_equal_configuration(name: str) -> None:
    config = preset(name)
    assert IsoFormerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"windwo_bp": 512}, "Did you mean 'window_bp'"),
        ({"window_bp": "512"}, "expected int, found '512'"),
        ({"window_bp": 513}, "a multiple of 8 bp"),
        ({"fusion": {"kind": "sum"}}, "expected one of cross_attention"),
        ({"rna": {"alphabet": "sixmer"}}, "all required keys"),
        ({"dna": None, "rna": None, "protein": None}, "at least one encoder"),
    ],
)
def test_a_wrong_key_or_value_is_named(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        IsoFormerConfig.from_dict({**preset("tiny").to_dict(), **change})
