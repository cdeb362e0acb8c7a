"""Published checkpoints: loaded towers answer as the published software does; nothing passes in silence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from model.config import IsoFormerConfig
from model.errors import InputError
from model.isoformer import IsoFormer, TokenInput
from model.pretrained import Tower, load_isoformer, load_tower
from model.tokenizers import ESM_CLS, ESM_EOS, ESM_PAD
from tests.model.published import (
    JAX_FIXTURE,
    WINDOW_BP,
    esm_tensors,
    jax_as_hugging_face,
    nucleotide_transformer_tensors,
    published_enformer,
    published_esm,
    released_isoformer_tensors,
    scattered,
    tiny_published_config,
    write,
)

TOWERS: tuple[Tower, ...] = ("dna", "rna", "protein")
TOLERANCE = 1e-5


def fresh(config: IsoFormerConfig | None = None) -> IsoFormer:
    torch.manual_seed(11)
    return IsoFormer(config or tiny_published_config()).eval()


def tower_tensors(tower: Tower) -> dict[str, Tensor]:
    if tower == "dna":
        return dict(published_enformer().state_dict())
    return nucleotide_transformer_tensors() if tower == "rna" else esm_tensors(published_esm())


def encode(model: IsoFormer, tower: Tower, sequences: list[np.ndarray]) -> list[Tensor]:
    offsets = np.cumsum([0, *map(len, sequences)])
    packed = TokenInput.from_packed(np.concatenate(sequences), offsets, torch.device("cpu"))
    with torch.no_grad():
        states = packed.layout.spread(model.encoders[tower](packed.tokens, packed.layout))
    return [states[row, : len(tokens)] for row, tokens in enumerate(sequences)]


def test_a_loaded_enformer_answers_as_enformer_pytorch(tmp_path: Path) -> None:
    """The trunk's output of the published implementation on random weights, from its state under its names: 1e-5."""
    theirs = published_enformer()
    model = fresh()
    report = load_tower(model, "dna", write(dict(theirs.state_dict()), tmp_path / "enformer.safetensors"))
    assert report.layout == "enformer-pytorch"
    windows = torch.from_numpy(np.random.default_rng(0).integers(0, 4, (2, WINDOW_BP)))
    one_hot = torch.nn.functional.one_hot(windows, 4).float()
    with torch.no_grad():
        expected = theirs(one_hot, return_only_embeddings=True)
        found = model.encoders["dna"](windows.to(torch.uint8))
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=TOLERANCE)


def test_a_loaded_esm_answers_as_transformers(tmp_path: Path) -> None:
    """ESM-2 saved by transformers itself, loaded from its folder: final states to 1e-5."""
    theirs = published_esm()
    theirs.save_pretrained(tmp_path)  # type: ignore[operator]
    model = fresh()
    assert load_tower(model, "protein", tmp_path).layout == "huggingface-esm2"
    rng = np.random.default_rng(0)
    sequences = [np.array([ESM_CLS, *rng.integers(4, 24, length), ESM_EOS]) for length in (17, 5)]
    for tokens, states in zip(sequences, encode(model, "protein", sequences), strict=True):
        ids = torch.from_numpy(tokens)[None]
        with torch.no_grad():
            expected = theirs.esm(ids, attention_mask=ids != ESM_PAD)[0][0]  # type: ignore[operator]
        torch.testing.assert_close(states, expected, atol=TOLERANCE, rtol=0)


def test_a_loaded_nucleotide_transformer_answers_as_the_published_one(tmp_path: Path) -> None:
    """The JAX fixture's weights under Hugging Face names give the published outputs: 1e-5."""
    if not JAX_FIXTURE.is_file():
        pytest.skip(f"NOT CHECKED: loading of Nucleotide Transformer v2 against {JAX_FIXTURE}, which is absent")
    model = fresh()
    load_tower(model, "rna", write(jax_as_hugging_face(), tmp_path / "nt.safetensors"))
    arrays = np.load(JAX_FIXTURE, allow_pickle=False)
    tokens = [row[row != 1] for row in arrays["ids"]]
    for row, states in enumerate(encode(model, "rna", tokens)):
        expected = arrays["out::embeddings_3"][row, : len(tokens[row])]
        np.testing.assert_allclose(states.numpy(), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("tower", TOWERS)
def test_every_tensor_of_a_tower_is_set(tower: Tower, tmp_path: Path) -> None:
    """After loading no tensor of the tower has its initial values, other towers have theirs, and the report says so."""
    model, before = fresh(), fresh().state_dict()
    path = write(tower_tensors(tower), tmp_path / "weights.safetensors")
    report = load_tower(model, tower, path)
    prefix = f"encoders.{tower}."
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) is not name.startswith(prefix), name
    own = [value for name, value in before.items() if name.startswith(prefix)]
    assert report.tensors == len(own)
    assert report.parameters == sum(value.numel() for value in own)
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert report.ignored
    assert model.origins == {tower: report}


def needed(tensors: dict[str, Tensor], ignored: set[str]) -> list[str]:
    return [name for name in tensors if name not in ignored and not name.startswith("_trunk")]


def damages(tensors: dict[str, Tensor], names: list[str]) -> Iterator[tuple[str, str, dict[str, Tensor]]]:
    """Each needed tensor dropped, renamed, and, where that shows, transposed; aliases suffer the same."""
    for name in names:
        without = {key: value for key, value in tensors.items() if not same_tensor(tensors, key, name)}
        yield "missing", name, without
        yield "missing", name, {**without, f"{name}_old": tensors[name]}
        value = tensors[name]
        if value.ndim > 1 and value.shape[0] != value.shape[1]:
            yield "misshapen", name, {**without, name: value.transpose(0, 1)}


def same_tensor(tensors: dict[str, Tensor], one: str, other: str) -> bool:
    return one == other or (one.startswith("_trunk") and tensors[one].data_ptr() == tensors[other].data_ptr())


@pytest.mark.parametrize("tower", TOWERS)
def test_no_tensor_may_be_missing_renamed_or_transposed(tower: Tower, tmp_path: Path) -> None:
    """Whichever tensor is damaged: refused, named, and not one value of the model has changed."""
    tensors = tower_tensors(tower)
    path = tmp_path / "weights.safetensors"
    ignored = {n for names in load_tower(fresh(), tower, write(tensors, path)).ignored.values() for n in names}
    model, before = fresh(), fresh().state_dict()
    names = needed(tensors, ignored)
    assert len(names) > 30
    for kind, name, damaged in damages(tensors, names):
        write(damaged, path)
        with pytest.raises(InputError) as caught:
            load_tower(model, tower, path)
        message = str(caught.value)
        assert kind in message or "misshapen" in message, (kind, name, message)
        assert name in message or name.split(".", 1)[1] in message, (kind, name, message)
        assert f"{name}_old" in damaged or "unexpected" not in message
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    """Several errors of one file come in one message."""
    tensors = nucleotide_transformer_tensors()
    gone, odd = "esm.encoder.layer.1.output.dense.weight", "esm.encoder.layer.0.LayerNorm.bias"
    del tensors[gone]
    tensors[odd] = torch.zeros(7)
    tensors["esm.surprise"] = torch.zeros(2)
    tensors["esm.encoder.layer.2.LayerNorm.bias"] = torch.zeros(48, dtype=torch.int64)
    with pytest.raises(InputError) as caught:
        load_tower(fresh(), "rna", write(tensors, tmp_path / "w.safetensors"))
    for part in (f"missing {gone}", f"misshapen {odd} (7,)", "unexpected esm.surprise", "mistyped esm.encoder.layer.2"):
        assert part in str(caught.value)


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """NaN in a file is found before anything is copied."""
    tensors = nucleotide_transformer_tensors()
    tensors["esm.encoder.layer.1.output.dense.weight"][3, 3] = torch.nan
    model = fresh()
    with pytest.raises(InputError, match=r"not finite esm\.encoder\.layer\.1\.output"):
        load_tower(model, "rna", write(tensors, tmp_path / "w.safetensors"))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in fresh().state_dict().items())


def test_copies_of_the_trunk_must_agree(tmp_path: Path) -> None:
    """Enformer files hold the trunk twice; two that differ are refused, one alone under either name is enough."""
    tensors = {name: value.clone() for name, value in published_enformer().state_dict().items()}
    trunk_only = {name: value for name, value in tensors.items() if name.startswith("_")}
    model, other = fresh(), fresh()
    load_tower(model, "dna", write(trunk_only, tmp_path / "trunk.safetensors"))
    load_tower(other, "dna", write(needed_only(tensors), tmp_path / "plain.safetensors"))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    tensors["_trunk.6.1.2.bias"] += 1
    with pytest.raises(InputError, match=r"contradicting _trunk\.6\.1\.2\.bias and final_pointwise"):
        load_tower(fresh(), "dna", write(tensors, tmp_path / "w.safetensors"))


def needed_only(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if not name.startswith("_")}


def test_another_number_of_heads_is_refused(tmp_path: Path) -> None:
    """No weight shows the number of heads: the contact head, the rotary frequencies and config.json do."""
    config = tiny_published_config()
    assert config.rna is not None
    assert config.protein is not None
    model = fresh(replace(config, rna=replace(config.rna, heads=8), protein=replace(config.protein, heads=2)))
    path = write(nucleotide_transformer_tensors(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"12 attention maps instead of 24.*frequencies"):
        load_tower(model, "rna", path)
    published_esm().save_pretrained(tmp_path / "esm")  # type: ignore[operator]
    with pytest.raises(InputError, match="num_attention_heads 4 instead of 2"):
        load_tower(model, "protein", tmp_path / "esm")


def test_an_encoder_is_not_taken_for_another(tmp_path: Path) -> None:
    """ESM-2 for RNA, Nucleotide Transformer for proteins, either for DNA: refused in one line."""
    paths = {tower: write(tower_tensors(tower), tmp_path / f"{tower}.safetensors") for tower in TOWERS}
    for tower in TOWERS:
        for other in TOWERS:
            if other != tower:
                with pytest.raises(InputError, match="by it the names of"):
                    load_tower(fresh(), tower, paths[other])


def test_half_precision_is_widened(tmp_path: Path) -> None:
    """bf16 files load into a fp32 model, and the report says what they were."""
    tensors = {name: value.bfloat16() for name, value in nucleotide_transformer_tensors().items()}
    model = fresh()
    report = load_tower(model, "rna", write(tensors, tmp_path / "w.safetensors"))
    assert report.dtype == "BF16"
    found = model.encoders["rna"].embedding.weight  # type: ignore[union-attr]
    assert found.dtype == torch.float32
    assert torch.equal(found, tensors["esm.embeddings.word_embeddings.weight"].float())  # type: ignore[arg-type]


def test_shards_load_as_one_file_does(tmp_path: Path) -> None:
    """An index of shards; a shard that is missing, or outside the folder, is refused."""
    tensors = nucleotide_transformer_tensors()
    names = sorted(tensors)
    index = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(names)}
    for file in set(index.values()):
        write({name: tensors[name] for name in names if index[name] == file}, tmp_path / file)
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": index}))
    model, whole = fresh(), fresh()
    report = load_tower(model, "rna", tmp_path)
    assert sorted(report.files) == ["part-0.safetensors", "part-1.safetensors"]
    load_tower(whole, "rna", write(tensors, tmp_path / "whole.safetensors"))
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in model.state_dict().items())
    for bad in ("../elsewhere.safetensors", "part-9.safetensors", 3):
        path.write_text(json.dumps({"weight_map": {**index, names[0]: bad}}))
        with pytest.raises(InputError, match="names of files beside the index"):
            load_tower(fresh(), "rna", tmp_path)


@pytest.mark.parametrize("content", [b"", b"no safetensors", None])
def test_a_file_that_is_no_checkpoint_is_one_line(content: bytes | None, tmp_path: Path) -> None:
    """Empty, foreign and absent files name themselves."""
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        load_tower(fresh(), "rna", path)


def test_pickles_are_sent_to_the_converter(tmp_path: Path) -> None:
    """A .bin file is never opened here, nor is one that lies in a folder."""
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(b"\x80\x04.")
    for given in (path, tmp_path):
        with pytest.raises(InputError, match="isoformer convert-weights"):
            load_tower(fresh(), "protein", given)


def test_the_released_layout_fills_the_whole_model(tmp_path: Path) -> None:
    """Three towers, cross-attention and head: every tensor is the file's, whatever prefixes the towers have."""
    tensors = released_isoformer_tensors()
    model = fresh()
    report = load_isoformer(model, write(tensors, tmp_path / "isoformer.safetensors"))
    state, before = model.state_dict(), fresh().state_dict()
    assert not any(torch.equal(value, before[name]) for name, value in state.items())
    assert report.layout == "isoformer-released"
    assert not report.verified
    assert report.tensors == len(state)
    for ours, theirs in {
        "encoders.rna.layers.2.feed_forward_in.weight": "encoder_b.esm.encoder.layer.2.intermediate.dense.weight",
        "fusion.targets.dna.layers.rna.key.weight": "cross_attention_layer_rna.key.weight",
        "fusion.targets.dna.layers.protein.dense.bias": "cross_attention_layer_protein.dense.bias",
        "head.inner.weight": "head_layer_1.weight",
        "head.outer.bias": "head_layer_2.bias",
    }.items():
        assert torch.equal(state[ours], tensors[theirs])


def test_every_tensor_of_the_released_layout_is_needed(tmp_path: Path) -> None:
    """Any tensor of fusion or head that is missing or renamed is refused."""
    tensors, model = released_isoformer_tensors(), fresh()
    path = tmp_path / "isoformer.safetensors"
    for name in [name for name in tensors if name.startswith(("cross_", "head_"))]:
        damaged = {key: value for key, value in tensors.items() if key != name}
        for content in (damaged, {**damaged, f"{name}2": tensors[name]}):
            with pytest.raises(InputError, match=f"missing {name}"):
                load_isoformer(model, write(content, path))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in fresh().state_dict().items())


def test_a_new_head_is_explicit_and_recorded(tmp_path: Path) -> None:
    """Other tissues are refused; with `new_head` the head stays as initialised and the report names it."""
    path = write(released_isoformer_tensors(), tmp_path / "isoformer.safetensors")
    other = replace(tiny_published_config(), tissues=("Brain", "Liver"))
    with pytest.raises(InputError, match=r"30 tissues .* where the model has 2 .*--new-head"):
        load_isoformer(fresh(other), path)
    # As many tissues, in another order, would pass by shape.
    shuffled = replace(other, tissues=tiny_published_config().tissues[::-1])
    with pytest.raises(InputError, match="--new-head"):
        load_isoformer(fresh(shuffled), path)
    model, before = fresh(other), fresh(other).state_dict()
    report = load_isoformer(model, path, new_head=True)
    assert report.new == ("head.inner.bias", "head.inner.weight", "head.outer.bias", "head.outer.weight")
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) is name.startswith("head."), name


def test_the_papers_three_targets_are_not_in_the_released_checkpoint(tmp_path: Path) -> None:
    """Its fusion is DNA-centred: a model with three targets is refused, not half filled."""
    config = tiny_published_config()
    model = fresh(replace(config, fusion=replace(config.fusion, targets=("dna", "rna", "protein"))))
    with pytest.raises(InputError, match=r"missing fusion\.targets\.rna\.layers\.dna\.query\.weight: no rule"):
        load_isoformer(model, write(released_isoformer_tensors(), tmp_path / "w.safetensors"))


def test_a_key_map_corrects_names(tmp_path: Path) -> None:
    """rename, prefixes, tensors and unused, from YAML and from JSON; its digest is in the report."""
    tensors = released_isoformer_tensors()
    plain = fresh()
    load_isoformer(plain, write(tensors, tmp_path / "plain.safetensors"))
    odd = {
        name.replace("cross_attention_layer_", "xattn_").replace("head_layer_2", "final"): value
        for name, value in tensors.items()
    }
    odd["encoder_b.esm.novelty"] = torch.zeros(1)
    path = write(odd, tmp_path / "odd.safetensors")
    with pytest.raises(InputError, match=r"missing cross_attention_layer_rna\.query"):
        load_isoformer(fresh(), path)
    content = {
        "rename": {r"^xattn_(\w+)\.": r"cross_attention_layer_\1."},
        "prefixes": {"rna": "encoder_b.esm."},
        "tensors": {"head.outer": "final"},
        "unused": {r"novelty$": "a later addition"},
    }
    for suffix, text in (("json", json.dumps(content)), ("yaml", yaml.safe_dump(content))):
        key_map = tmp_path / f"keys.{suffix}"
        key_map.write_text(text)
        model = fresh()
        report = load_isoformer(model, path, key_map=key_map)
        assert report.key_map is not None
        assert report.ignored["a later addition"] == ("encoder_b.esm.novelty",)
        assert all(torch.equal(value, plain.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "text",
    ["[1]", "renames: {}", "rename: {'(': x}", "rename: {a: '\\2'}", "tensors: {a: 3}", "prefixes: {x: y}", "a: ["],
)
def test_a_bad_key_map_is_one_line(text: str, tmp_path: Path) -> None:
    """Unknown sections, patterns that are none, and other shapes are refused by the file's name."""
    key_map = tmp_path / "keys.yaml"
    key_map.write_text(text)
    path = write(nucleotide_transformer_tensors(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"keys\.yaml: expected a key map"):
        load_tower(fresh(), "rna", path, key_map=key_map)


def test_a_key_map_cannot_hide_a_tensor(tmp_path: Path) -> None:
    """One tensor for two of ours, or a needed one called unused, does not fill a tower."""
    path = write(nucleotide_transformer_tensors(), tmp_path / "w.safetensors")
    key_map = tmp_path / "keys.json"
    key_map.write_text(
        json.dumps({"tensors": {"encoders.rna.layers.{}.attention_norm": "esm.encoder.layer.{}.LayerNorm"}})
    )
    with pytest.raises(InputError, match=r"used twice esm\.encoder\.layer\.0\.LayerNorm\.weight"):
        load_tower(fresh(), "rna", path, key_map=key_map)
    key_map.write_text(json.dumps({"unused": {"LayerNorm": "not liked"}}))
    model = fresh()
    load_tower(model, "rna", path, key_map=key_map)  # what is needed is used all the same
    assert not torch.equal(
        model.state_dict()["encoders.rna.layers.0.attention_norm.bias"],
        fresh().state_dict()["encoders.rna.layers.0.attention_norm.bias"],
    )


def test_another_isoformer_lends_a_tower_or_everything(tmp_path: Path) -> None:
    """Weights trained here start other models too; a configuration that differs is refused."""
    from model.weights import save_model

    config = tiny_published_config()
    lender = scattered(IsoFormer(config), seed=5)
    assert isinstance(lender, IsoFormer)
    save_model(lender, tmp_path)
    model, whole = fresh(), fresh()
    assert load_tower(model, "rna", tmp_path).layout == "isoformer"
    load_isoformer(whole, tmp_path)
    for name, value in lender.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name])
        assert torch.equal(value, model.state_dict()[name]) is name.startswith("encoders.rna."), name
    assert config.rna is not None
    other = fresh(replace(config, rna=replace(config.rna, heads=2)))
    for load in (lambda: load_tower(other, "rna", tmp_path), lambda: load_isoformer(other, tmp_path)):
        with pytest.raises(InputError, match=r"rna\.heads 4 instead of 2"):
            load()
