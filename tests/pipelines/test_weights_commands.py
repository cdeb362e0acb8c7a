"""`isoformer convert-weights`, `inspect-weights` and `init-model`, as a user types them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.config import FusionConfig, IsoFormerConfig
from model.initial import initial_model
from model.isoformer import IsoFormer
from model.presets import PRESETS
from model.weights import load_model, save_pretrained

ISOFORMER = str(Path(sys.executable).parent / "isoformer")


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ISOFORMER, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def lender(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the sanity preset, in a folder."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("weights") / "lender"
    save_pretrained(IsoFormer(PRESETS["sanity"]()), folder)
    return folder


@pytest.mark.slow
def test_from_bin_to_a_model_with_a_new_head(lender: Path, tmp_path: Path) -> None:
    """Convert, inspect, start a model for two tissues; the card says what it grew from and that the head is new."""
    state = load_model(lender).state_dict()
    bin_folder = tmp_path / "published"
    bin_folder.mkdir()
    (bin_folder / "config.json").write_bytes((lender / "config.json").read_bytes())
    torch.save(state, bin_folder / "pytorch_model.bin")
    refused = call("inspect-weights", bin_folder)
    assert refused.returncode == 2
    assert "convert-weights" in refused.stderr
    done = call("convert-weights", bin_folder / "pytorch_model.bin", bin_folder / "model.safetensors")
    assert done.returncode == 0, done.stderr
    assert f"{len(state)} tensors" in done.stdout
    shown = call("inspect-weights", bin_folder)
    assert "layout: isoformer" in shown.stdout
    given = ("--preset", "sanity", "--isoformer", bin_folder, "--tissue", "Brain", "--tissue", "Liver")
    without = call("init-model", tmp_path / "model", *given)
    assert without.returncode == 2
    assert "--new-head" in without.stderr
    assert not (tmp_path / "model").exists()
    made = call("init-model", tmp_path / "model", *given, "--new-head")
    assert made.returncode == 0, made.stderr
    model = load_model(tmp_path / "model")
    assert model.config.tissues == ("Brain", "Liver")
    assert torch.equal(model.state_dict()["encoders.rna.embedding.weight"], state["encoders.rna.embedding.weight"])
    assert "**new head**: 4 tensors started at random" in (tmp_path / "model" / "README.md").read_text()


def test_single_encoders_and_what_stays_random(lender: Path, tmp_path: Path) -> None:
    """One encoder from another model; the rest is named as random, and equal seeds give equal weights."""
    done = call("init-model", tmp_path / "a", "--preset", "sanity", "--rna", lender)
    assert done.returncode == 0, done.stderr
    assert "at random (seed 0): the dna encoder, the protein encoder, fusion, head" in done.stdout
    again, _ = initial_model("sanity", towers={"rna": lender})
    again.save_pretrained(tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    assert load_model(tmp_path / "a").origins.keys() == {"rna"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--isoformer", "x", "--rna", "y"), "found both"),
        (("--new-head",), "--new-head or --key-map"),
        (("--rna", "absent.safetensors"), "no such file"),
        (("--preset", "huge"), "one of isoformer"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    """Contradictions and wrong paths end with status 2 and leave nothing."""
    done = call("init-model", tmp_path / "model", "--preset", "sanity", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "model").exists()


def test_the_released_preset_is_dna_centred() -> None:
    """What is known of the released checkpoint: one target, special tokens of an absent sequence attended to."""
    config: IsoFormerConfig = PRESETS["isoformer-released"]()
    assert config.fusion == FusionConfig(targets=("dna",), absent="specials")
