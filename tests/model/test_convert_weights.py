"""Published .bin files become safetensors once; a file that would run code does not."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.convert_weights import convert, convert_in_own_process
from model.errors import InputError
from model.isoformer import IsoFormer
from model.pretrained import load_tower
from tests.model.published import published_enformer, tiny_published_config, write


def test_an_enformer_bin_loads_after_conversion(tmp_path: Path) -> None:
    """The published file's names, copies and counters included, through a process of its own to a filled tower."""
    state = published_enformer().state_dict()
    torch.save(state, tmp_path / "pytorch_model.bin")
    said = convert_in_own_process(tmp_path / "pytorch_model.bin", tmp_path / "out" / "enformer.safetensors")
    assert "also known as" in said
    models = [IsoFormer(tiny_published_config()) for _ in range(2)]
    load_tower(models[0], "dna", tmp_path / "out" / "enformer.safetensors")
    load_tower(models[1], "dna", write(dict(state), tmp_path / "direct.safetensors"))
    for name, value in models[0].encoders["dna"].state_dict().items():
        assert torch.equal(value, models[1].encoders["dna"].state_dict()[name]), name
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["enformer.safetensors"]


@pytest.mark.parametrize("key", ["state_dict", "model", None])
def test_tensors_are_found_below_the_usual_keys(key: str | None, tmp_path: Path) -> None:
    """Training frameworks wrap the weights; what is no tensor is named and left out; views become plain tensors."""
    base = torch.arange(12.0).view(3, 4)
    state = OrderedDict(a=base, b=base.t(), c=base[1], half=base.bfloat16(), epoch=3)
    torch.save({key: state, "epoch": 3} if key else state, tmp_path / "w.pt")
    said = convert(tmp_path / "w.pt", tmp_path / "w.safetensors")
    assert "1 left out, no tensors: epoch" in said
    found = load_file(tmp_path / "w.safetensors")
    assert found.keys() == {"a", "b", "c", "half"}
    assert all(torch.equal(found[name], state[name]) for name in found)
    assert (tmp_path / "w.safetensors").stat().st_size < 1000  # a view does not carry its storage


class Hostile:
    """What pickles can do: call a function of their choosing when they are read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    """Nothing runs, nothing is written, one line says why."""
    torch.save({"w": torch.ones(2), "x": Hostile(tmp_path / "ran")}, tmp_path / "w.bin")
    with pytest.raises(InputError, match=r"w\.bin: expected tensors by name, and nothing that would have to be run"):
        convert_in_own_process(tmp_path / "w.bin", tmp_path / "w.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["w.bin"]


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"PK\x03\x04broken", None])
def test_what_is_no_checkpoint_is_one_line(content: bytes | None, tmp_path: Path) -> None:
    """Empty, truncated, foreign and absent files name themselves."""
    if content is not None:
        (tmp_path / "w.bin").write_bytes(content)
    with pytest.raises(InputError, match=r"w\.bin"):
        convert(tmp_path / "w.bin", tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()


def test_a_truncated_archive_is_one_line(tmp_path: Path) -> None:
    """A download that broke off."""
    torch.save({"w": torch.ones(1000)}, tmp_path / "w.bin")
    (tmp_path / "w.bin").write_bytes((tmp_path / "w.bin").read_bytes()[:-300])
    with pytest.raises(InputError, match=r"w\.bin"):
        convert(tmp_path / "w.bin", tmp_path / "w.safetensors")


@pytest.mark.parametrize("content", [3, {"epoch": 3}, [torch.ones(2)]])
def test_a_file_without_named_tensors_is_refused(content: object, tmp_path: Path) -> None:
    """Nothing to convert is an error, not an empty file."""
    torch.save(content, tmp_path / "w.bin")
    with pytest.raises(InputError, match="tensors by name, at the top or under"):
        convert(tmp_path / "w.bin", tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin"])
def test_nothing_is_overwritten(name: str, tmp_path: Path) -> None:
    """The target is a new .safetensors file."""
    torch.save({"w": torch.ones(2)}, tmp_path / "in.bin")
    (tmp_path / "w.safetensors").write_text("mine")
    with pytest.raises(InputError, match=r"a new \.safetensors file"):
        convert(tmp_path / "in.bin", tmp_path / name)
    assert (tmp_path / "w.safetensors").read_text() == "mine"
