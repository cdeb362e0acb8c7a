"""What stops a training, or seems to stand in its way, is said in one line that helps a person to mend it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.params import Params
from components.train_model.spec import Spec
from components.train_model.step import _mention_unfinished
from tests.components.train_model.workers import changed


def unfinished(folder: Path, params: Params) -> Path:
    """The specification of a training that left checkpoints."""
    (folder / "checkpoints").mkdir(parents=True)
    spec = folder / "spec-0.json"
    Spec(payload=folder, params=params, work=folder).write(spec)
    return spec


def test_an_unfinished_training_beside_this_one_is_told_with_its_difference(
    tmp_path: Path, sanity_params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished(tmp_path / "0123456789abcdef", changed(sanity_params, train={"seed": 7}))
    _mention_unfinished(tmp_path / "fedcba9876543210", sanity_params)
    assert "this is another one (train.seed: 7 → 0)" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["an old knob", "half a file"])
def test_an_unfinished_training_of_another_version_blocks_no_new_one(
    tmp_path: Path, sanity_params: Params, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    spec = unfinished(tmp_path / "0123456789abcdef", sanity_params)
    data = json.loads(spec.read_text())
    parameters = json.loads(data["params"])
    parameters["train"]["an_old_knob"] = 1
    text = json.dumps(data | {"params": json.dumps(parameters)})
    spec.write_text(text if damage == "an old knob" else text[:100])
    _mention_unfinished(tmp_path / "fedcba9876543210", sanity_params)
    said = capsys.readouterr().err
    assert f"an unfinished training lies in {spec.parent}" in said
    assert "its parameters are of another version of this program" in said
