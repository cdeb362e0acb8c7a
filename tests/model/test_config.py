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
