"""What stops a training, or seems to stand in its way, is said in one line that helps a person to mend it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from components.params import Params
from components.train_model.spec import Spec
from components.train_model.step import _mention_unfinished
from model.errors import InputError
from tests.components.train_model.trainers import make_trainer
from tests.components.train_model.workers import changed


@pytest.mark.parametrize(
    ("value", "bad"), [(float("nan"), "all"), (1e30, "0")], ids=["not a number", "too large to be squared"]
)
def test_validation_that_gives_no_number_names_epoch_and_transcripts(
    tmp_path: Path, sanity_params: Params, transcripts: Path, value: float, bad: str
) -> None:
    trainer = make_trainer(sanity_params, transcripts, tmp_path)
    *_, bias = trainer.model.head.parameters()
    with torch.no_grad():
        bias.fill_(value)
    data = trainer.validation.loader.data
    count = str(len(data)) if bad == "all" else bad
    with pytest.raises(InputError) as caught:
        trainer._end_epoch()
    assert caught.value.where == "validation after epoch 0, optimizer step 0"
    assert f"{count} of {len(data)} validation transcripts" in caught.value.found
    assert any(name in caught.value.found for name in data.transcript_ids)
    assert "lower train.learning_rate" in caught.value.fix
    assert trainer.progress.best_metric is None
    assert not (tmp_path / "checkpoints").exists()


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
