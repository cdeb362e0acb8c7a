"""Freezing and LoRA: what is trained, what stands still, and what is exported."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from model.adapters import add_lora, freeze, is_adapted, merge_lora, unfreeze_last_blocks
from model.batch import collate
from model.config import EnformerConfig, IsoFormerConfig
from model.errors import InputError
from model.isoformer import IsoFormer, TorchBatch

if TYPE_CHECKING:
    from tests.model.conftest import MakeTranscripts

TOWERS = ("dna", "rna", "protein")


def build(config: IsoFormerConfig) -> IsoFormer:
    torch.manual_seed(0)
    return IsoFormer(config)


def trained(model: IsoFormer, batch: TorchBatch, steps: int = 3) -> None:
    """A few optimizer steps on whatever may be trained."""
    model.train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(steps):
        model(batch).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


@pytest.fixture
def batch(small_config: IsoFormerConfig, make_transcripts: MakeTranscripts) -> TorchBatch:
    return TorchBatch.from_packed(collate(make_transcripts(small_config, 8), small_config))


def test_lora_starts_as_the_model_itself_and_merges_exactly(small_config: IsoFormerConfig, batch: TorchBatch) -> None:
    """No prediction changes when it is added, none when it is folded; the folded model has the plain layout."""
    model = build(small_config).eval()
    names, before = list(model.state_dict()), model(batch)
    add_lora(model, TOWERS, rank=4, alpha=8.0)
    assert torch.equal(model(batch), before)
    trained(model, batch)
    adapted = model(batch)
    assert (adapted - before).abs().max() > 1e-3
    merge_lora(model)
    assert torch.equal(model(batch), adapted)
    assert sorted(model.state_dict()) == sorted(names)
    assert not is_adapted(model)
    plain = build(small_config).eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(plain(batch), adapted)
    merge_lora(model)  # nothing left to fold
    assert torch.equal(model(batch), adapted)


def test_lora_equals_a_branch_beside_the_layer(small_config: IsoFormerConfig) -> None:
    """W·x + alpha/R · up(down(x)), for query, key and value each with its own pair."""
    model = build(small_config)
    layer = model.encoders["rna"].layers[0].query_key_value  # type: ignore[union-attr, index]
    weight, bias = layer.weight.detach().clone(), layer.bias
    add_lora(model, ["rna"], rank=3, alpha=6.0)
    term = layer.parametrizations.weight[0]
    term.up.data.normal_()
    x = torch.randn(5, 16)
    branches = [6.0 / 3 * (x @ down.T) @ up.T for down, up in zip(term.down, term.up, strict=True)]
    torch.testing.assert_close(layer(x), x @ weight.T + bias + torch.cat(branches, dim=1), atol=1e-5, rtol=1e-5)


def test_lora_trains_its_terms_and_the_rest_of_the_model_only(small_config: IsoFormerConfig, batch: TorchBatch) -> None:
    """Base weights of the named encoders do not move; the terms, other encoders, fusion and head do."""
    model = build(small_config)
    add_lora(model, ["dna", "rna"], rank=2, alpha=2.0)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    trained(model, batch)
    for name, value in model.named_parameters():
        frozen = name.startswith(("encoders.dna.", "encoders.rna.")) and not name.endswith((".up", ".down"))
        assert value.requires_grad is not frozen, name
        assert torch.equal(value, before[name]) is frozen or name.endswith("key.bias"), name
    terms = [name for name in before if name.endswith(".up")]
    assert len(terms) == 2 * 4 + 2 * 2  # two Enformer layers of four projections, two rotary ones of two weights


def test_a_frozen_tower_stands_still(small_config: IsoFormerConfig, batch: TorchBatch) -> None:
    """Neither weights nor running statistics move, also where the configuration takes statistics of the batch."""
    assert isinstance(small_config.dna, EnformerConfig)
    model = build(replace(small_config, dna=replace(small_config.dna, batch_norm="global")))
    freeze(model, TOWERS)
    before = {name: value.clone() for name, value in model.encoders.state_dict().items()}
    head = model.head.outer.weight.detach().clone()
    trained(model, batch)
    assert all(torch.equal(value, before[name]) for name, value in model.encoders.state_dict().items())
    assert not torch.equal(model.head.outer.weight, head)
    unfreeze_last_blocks(model, "dna", 5)
    trained(model, batch)
    moved = [n for n, v in model.encoders.state_dict().items() if not torch.equal(v, before[n])]
    assert any("running_mean" in name for name in moved)


@pytest.mark.parametrize(("tower", "most"), [("dna", 2 + 2), ("rna", 2), ("protein", 2)])
def test_blocks_are_unfrozen_from_the_output_back(small_config: IsoFormerConfig, tower: str, most: int) -> None:
    """Each further block adds to what is trained; one more than there are is the whole encoder."""
    model = build(small_config)
    freeze(model, [tower])

    def trainable() -> set[str]:
        return {name for name, p in model.encoders[tower].named_parameters() if p.requires_grad}

    seen = trainable()
    assert not seen
    unfreeze_last_blocks(model, tower, 0)
    assert not trainable()
    for blocks in range(1, most + 2):
        unfreeze_last_blocks(model, tower, blocks)
        assert trainable() > seen, blocks
        seen = trainable()
        if blocks == 1:
            last = "transformer.1." if tower == "dna" else "layers.1."
            assert {name.split(".")[0] for name in seen} == {last.split(".")[0], "final" if tower == "dna" else "norm"}
            assert any(name.startswith(last) for name in seen)
            assert not any(name.startswith(last.replace("1", "0")) for name in seen)
    assert seen == {name for name, _ in model.encoders[tower].named_parameters()}
    with pytest.raises(InputError, match=f"0 to {most + 1} blocks"):
        unfreeze_last_blocks(model, tower, most + 2)


@pytest.mark.parametrize(
    ("towers", "rank", "alpha"), [(["rna"], 0, 1.0), (["rna"], 99, 1.0), (["rna"], 2, 0.0), (["genome"], 2, 1.0)]
)
def test_what_cannot_be_adapted_is_refused_whole(
    small_config: IsoFormerConfig, towers: list[str], rank: int, alpha: float
) -> None:
    """Bad ranks, scales and names leave the model as it was."""
    model = build(small_config)
    with pytest.raises(InputError):
        add_lora(model, towers, rank=rank, alpha=alpha)
    assert all(p.requires_grad for p in model.parameters())
    assert not is_adapted(model)


def test_lora_twice_is_refused(small_config: IsoFormerConfig) -> None:
    """Terms on terms would be folded wrongly."""
    model = build(small_config)
    add_lora(model, ["rna"], rank=2, alpha=2.0)
    with pytest.raises(InputError, match="one that has it"):
        add_lora(model, ["rna"], rank=2, alpha=2.0)
