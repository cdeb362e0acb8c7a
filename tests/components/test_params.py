"""Parameters are typed and strict, and what says only where or how fast stays outside every digest."""

from pathlib import Path

import pytest

from components.artifacts import config_digest
from components.params import Params, load_params, preset_names
from model.errors import InputError

ROOT = Path(__file__).parents[2]


def test_the_shipped_file_and_every_preset_load() -> None:
    for preset in (None, *preset_names()):
        params = load_params(ROOT / "params.yaml", preset=preset)
        assert Params.from_json(params.to_json()) == params


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("train: {seed: 5, max_steps: 7}\n")
    params = load_params(file, preset="sanity", overrides=["train.learning_rate=1e-4"])
    assert (params.train.seed, params.train.max_steps, params.train.learning_rate) == (5, 20, 1e-4)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.sead=3", "train.sead: .*Did you mean 'seed'"),
        ("trian.seed=3", "trian: .*Did you mean 'train'"),
        ("train.seed=often", "train.seed: .*found 'often'"),
        ("train.max_epochs=0", "greater than or equal to 1"),
        ("train", "section.key=value"),
    ],
)
def test_a_wrong_key_or_value_is_named(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_params(None, overrides=[override])


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="sanity"):
        load_params(None, preset="sanety")


def test_place_device_and_workers_do_not_change_a_digest() -> None:
    here = load_params(None)
    there = load_params(None, overrides=["data.folder=/elsewhere", "runtime.device=cpu", "runtime.processes=2"])
    sections = [name for name in Params.model_fields if name not in ("data", "runtime", "schema_version")]
    assert config_digest(here.config(*sections)) == config_digest(there.config(*sections))
    with pytest.raises(ValueError, match="outside every digest"):
        here.config("runtime")
