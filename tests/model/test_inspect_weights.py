"""What a file is said to be, at the sizes of the published networks: their shapes, without their values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from model.errors import InputError
from model.inspect_weights import inspect_weights
from model.isoformer import IsoFormer
from model.weights import save_pretrained
from tests.model.published import tiny_published_config

Shapes = dict[str, tuple[int, ...]]
# layers, width, heads, feed-forward width
ESM2 = {"8m": (6, 320, 20), "35m": (12, 480, 20), "150m": (30, 640, 20), "650m": (33, 1280, 20)}
NT = {"50m": (12, 512, 2048), "100m": (22, 512, 2048), "250m": (24, 768, 3072), "500m": (29, 1024, 4096)}


def hollow(shapes: Shapes, path: Path) -> Path:
    """A safetensors file with these fp32 tensors, all zeros, that takes no space on a disk."""
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 4 * torch.Size(shape).numel()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with path.open("wb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        handle.truncate(8 + len(text) + at)
    return path


def shapes_of(module: nn.Module) -> Shapes:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def published_esm2(size: str) -> Shapes:
    """transformers' own ESM-2 of that size, with the learned positions that published files carry."""
    from transformers import EsmConfig, EsmForMaskedLM

    layers, width, heads = ESM2[size]
    config = EsmConfig(
        vocab_size=33,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        position_embedding_type="rotary",
        emb_layer_norm_before=False,
        mask_token_id=32,
        pad_token_id=1,
    )
    with torch.device("meta"):
        return shapes_of(EsmForMaskedLM(config)) | {"esm.embeddings.position_embeddings.weight": (1026, width)}


def published_nt(size: str) -> Shapes:
    """Nucleotide Transformer v2 in the Hugging Face layout, heads and positions included."""
    layers, width, inner = NT[size]
    shapes: Shapes = {
        "esm.embeddings.word_embeddings.weight": (4107, width),
        "esm.embeddings.position_embeddings.weight": (2050, width),
        "esm.contact_head.regression.weight": (1, layers * 16),
        "esm.contact_head.regression.bias": (1,),
        "lm_head.dense.weight": (width, width),
        "lm_head.dense.bias": (width,),
        "lm_head.layer_norm.weight": (width,),
        "lm_head.layer_norm.bias": (width,),
        "lm_head.bias": (4107,),
        "lm_head.decoder.weight": (4107, width),
    }
    norms = ["esm.encoder.emb_layer_norm_after"]
    for index in range(layers):
        layer = f"esm.encoder.layer.{index}"
        norms += [f"{layer}.attention.LayerNorm", f"{layer}.LayerNorm"]
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= {f"{layer}.attention.{name}.weight": (width, width), f"{layer}.attention.{name}.bias": (width,)}
        shapes[f"{layer}.intermediate.dense.weight"] = (2 * inner, width)
        shapes[f"{layer}.output.dense.weight"] = (width, inner)
    return shapes | {f"{name}.{kind}": (width,) for name in norms for kind in ("weight", "bias")}


def published_enformer() -> Shapes:
    """`enformer-pytorch` at full size, its two heads included; the copies of the trunk under their other names too."""
    from enformer_pytorch import Enformer, EnformerConfig

    with torch.device("meta"):
        return shapes_of(Enformer(EnformerConfig()))


@pytest.mark.parametrize("size", ESM2)
def test_esm2_fits_its_preset(size: str, tmp_path: Path) -> None:
    """All names and shapes of transformers' ESM-2 are those of one named encoder."""
    lines = inspect_weights(hollow(published_esm2(size), tmp_path / "model.safetensors"))
    assert "layout: huggingface-esm2" in lines
    assert "licence: ESM-2 weights: MIT" in lines
    assert [line.split(",")[0] for line in lines if line.startswith("fits")] == [f"fits: esm2-{size} as protein"]


@pytest.mark.parametrize("size", NT)
def test_nucleotide_transformer_fits_its_preset(size: str, tmp_path: Path) -> None:
    """The published sizes of Nucleotide Transformer v2, each one of its own."""
    lines = inspect_weights(hollow(published_nt(size), tmp_path / "model.safetensors"))
    assert [line.split(",")[0] for line in lines if line.startswith("fits")] == [f"fits: nt-v2-{size} as rna"]
    assert any("non-commercial" in line for line in lines)


def test_enformer_fits_its_preset(tmp_path: Path) -> None:
    """229,845,504 parameters and the running statistics of `enformer-pytorch` at full size."""
    lines = inspect_weights(hollow(published_enformer(), tmp_path / "model.safetensors"))
    assert "layout: enformer-pytorch" in lines
    assert any(line.startswith("fits: enformer as dna, 229,") for line in lines)


def released() -> Shapes:
    """The whole released IsoFormer as the facts about it reconstruct it, with its unused heads."""
    enformer = {name: shape for name, shape in published_enformer().items() if not name.startswith("_trunk")}
    nt = {name: shape for name, shape in published_nt("250m").items() if "decoder" not in name}
    # The published total counts the words of NT's language head apart from its embedding.
    nt["lm_head.decoder.weight"] = (4107, 768)
    esm = {name: shape for name, shape in published_esm2("150m").items() if "decoder" not in name}
    shapes = {f"a.{k}": v for k, v in enformer.items()} | {f"b.{k}": v for k, v in nt.items()}
    shapes |= {f"c.{k}": v for k, v in esm.items()}
    for name, width in (("rna", 768), ("protein", 640)):
        for part, columns in (("query", 3072), ("key", width), ("value", width), ("dense", 3072)):
            shapes |= {
                f"cross_attention_layer_{name}.{part}.weight": (3072, columns),
                f"cross_attention_layer_{name}.{part}.bias": (3072,),
            }
    return shapes | {
        "head_layer_1.weight": (6144, 3072),
        "head_layer_1.bias": (6144,),
        "head_layer_2.weight": (30, 6144),
        "head_layer_2.bias": (30,),
    }


def test_the_released_isoformer_fits_its_preset(tmp_path: Path) -> None:
    """700,627,792 parameters part by part, and every one of ours is found; the layout is called unverified."""
    shapes = released()
    statistics = ("running_mean", "running_var", "num_batches_tracked", "inv_freq")
    counted = {n: torch.Size(s).numel() for n, s in shapes.items() if not n.endswith(statistics)}
    assert sum(counted.values()) == 700_627_792
    lines = inspect_weights(hollow(shapes, tmp_path / "model.safetensors"))
    assert "layout: isoformer-released" in lines
    assert any(line.startswith("fits: isoformer-released as isoformer") for line in lines)
    assert any("UNVERIFIED" in line for line in lines)


def test_what_fits_nothing_is_told_by_its_nearest(tmp_path: Path) -> None:
    """One odd tensor is named, with the network that the file almost is."""
    shapes = published_esm2("8m")
    shapes["esm.encoder.layer.3.output.dense.weight"] = (320, 1279)
    lines = inspect_weights(hollow(shapes, tmp_path / "model.safetensors"))
    (line,) = [line for line in lines if line.startswith("fits")]
    assert "nearest esm2-8m" in line
    assert "misshapen esm.encoder.layer.3.output.dense.weight (320, 1279)" in line


def test_a_folder_of_ours_and_foreign_files(tmp_path: Path) -> None:
    """Our own layout names its configuration; unknown tensors are shown; .bin files are not opened."""
    save_pretrained(IsoFormer(tiny_published_config()), tmp_path / "own")
    lines = inspect_weights(tmp_path / "own")
    assert "layout: isoformer" in lines
    assert "model: tiny-published, reads dna, rna, protein; 30 tissues" in lines
    lines = inspect_weights(hollow({"bert.weight": (2, 3)}, tmp_path / "other.safetensors"))
    assert "layout: unknown" in lines
    assert "names: bert.weight, …" in lines
    (tmp_path / "w.bin").write_bytes(b"x")
    assert "convert-weights" in inspect_weights(tmp_path / "w.bin")[1]
    with pytest.raises(InputError, match="no such file"):
        inspect_weights(tmp_path / "absent.safetensors")
