"""Tiny checkpoints in the layouts of published ones, made by the published software where it exists."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model.config import GTEX_TISSUES, EnformerConfig, FusionConfig, IsoFormerConfig, RotaryConfig
from model.tokenizers import ESM_MASK, ESM_PAD

WINDOW_BP = 128
JAX_FIXTURE = Path(__file__).parents[3] / "shared" / "fixtures" / "nt_v2_tiny_jax.npz"


def tiny_published_config() -> IsoFormerConfig:
    """An IsoFormer whose parts `enformer-pytorch`, the JAX fixture and `transformers` can build at the same size."""
    dna = EnformerConfig(
        stem_channels=24,
        tower_channels=(24, 48),
        layers=2,
        heads=2,
        key_size=16,
        value_size=24,
        position_features=24,
        crop_positions=3,
        output_channels=96,
        gamma_basis="per_distance",
    )
    rna = RotaryConfig(
        alphabet="sixmer",
        layers=3,
        width=48,
        heads=4,
        feed_forward_width=64,
        feed_forward="gated_silu",
        max_tokens=64,
    )
    protein = replace(
        rna, alphabet="esm", layers=2, width=40, feed_forward="gelu", feed_forward_width=160, token_dropout=True
    )
    return IsoFormerConfig(
        name="tiny-published",
        window_bp=WINDOW_BP,
        dna=dna,
        rna=rna,
        protein=protein,
        fusion=FusionConfig(targets=("dna",), absent="specials", heads=8),
    )


def scattered(module: nn.Module, seed: int) -> nn.Module:
    """Every parameter and running statistic at random: nothing equals what an initialisation gives."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if value.is_floating_point() and "inv_freq" not in name:
            noise = torch.randn(value.shape, generator=generator) * 0.2
            value.data.copy_(noise.abs() + 0.5 if name.endswith(("running_var", "norm.weight")) else noise)
    return module.eval()


def published_enformer() -> nn.Module:
    """`enformer-pytorch` at the size of `tiny_published_config`."""
    from enformer_pytorch import Enformer
    from enformer_pytorch import EnformerConfig as Published

    return scattered(
        Enformer(
            Published(
                dim=48,
                depth=2,
                heads=2,
                attn_dim_key=16,
                num_downsamples=3,
                dim_divisible_by=4,
                target_length=10,
                output_heads={"human": 5, "mouse": 3},
            )
        ),
        seed=1,
    )


def published_esm(
    *, vocabulary: int = 33, width: int = 40, layers: int = 2, heads: int = 4, inner: int = 160
) -> nn.Module:
    """`transformers`' EsmForMaskedLM, whose attention may be asked for."""
    from transformers import EsmConfig, EsmForMaskedLM

    config = EsmConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        position_embedding_type="rotary",
        token_dropout=vocabulary == 33,
        emb_layer_norm_before=False,
        layer_norm_eps=1e-5,
        mask_token_id=ESM_MASK,
        pad_token_id=ESM_PAD,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    )
    return scattered(EsmForMaskedLM(config), seed=2)


def esm_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The state of a transformers ESM as published files hold it, with the learned positions that they carry."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    state["esm.embeddings.position_embeddings.weight"] = torch.zeros(8, state["lm_head.dense.weight"].shape[0])
    return state


def nucleotide_transformer_tensors(seed: int = 3) -> dict[str, Tensor]:
    """The Hugging Face layout of Nucleotide Transformer v2: no bias in the feed-forward, gate first."""
    generator = torch.Generator().manual_seed(seed)
    width, inner, layers = 48, 64, 3
    shapes: dict[str, tuple[int, ...]] = {
        "esm.embeddings.word_embeddings.weight": (4107, width),
        "esm.embeddings.position_embeddings.weight": (2050, width),
        "esm.encoder.emb_layer_norm_after.weight": (width,),
        "esm.encoder.emb_layer_norm_after.bias": (width,),
        "esm.contact_head.regression.weight": (1, 12),
        "esm.contact_head.regression.bias": (1,),
        "lm_head.dense.weight": (width, width),
        "lm_head.bias": (4107,),
    }
    for index in range(layers):
        layer = f"esm.encoder.layer.{index}"
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= {f"{layer}.{name}.weight": (width, width), f"{layer}.{name}.bias": (width,)}
        for name in ("attention.LayerNorm", "LayerNorm"):
            shapes |= {f"{layer}.{name}.weight": (width,), f"{layer}.{name}.bias": (width,)}
        shapes |= {
            f"{layer}.intermediate.dense.weight": (2 * inner, width),
            f"{layer}.output.dense.weight": (width, inner),
            f"{layer}.attention.self.rotary_embeddings.inv_freq": (6,),
        }
    return {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in shapes.items()}


def jax_as_hugging_face() -> dict[str, Tensor]:
    """The weights of the JAX fixture under their Hugging Face names."""
    arrays = np.load(JAX_FIXTURE, allow_pickle=False)

    def get(name: str) -> Tensor:
        return torch.from_numpy(arrays[f"param::nt/{name}"].T.copy())

    final = "~/roberta_lm_head/~/emb_layer_norm_after"
    tensors = {
        "esm.embeddings.word_embeddings.weight": torch.from_numpy(arrays["param::nt/~/embed::embeddings"]),
        "esm.encoder.emb_layer_norm_after.weight": get(f"{final}::scale"),
        "esm.encoder.emb_layer_norm_after.bias": get(f"{final}::offset"),
    }
    for index in range(3):
        theirs, layer = f"attention_layer_{index}/~", f"esm.encoder.layer.{index}"
        for name, published in (("query",) * 2, ("key",) * 2, ("value",) * 2):
            for ours, kind in (("weight", "w"), ("bias", "b")):
                tensors[f"{layer}.attention.self.{name}.{ours}"] = get(f"{theirs}/self_attention/{published}::{kind}")
        for ours, kind in (("weight", "w"), ("bias", "b")):
            tensors[f"{layer}.attention.output.dense.{ours}"] = get(f"{theirs}/self_attention/mha_output::{kind}")
        for name, published in (
            ("attention.LayerNorm", "self_attention_layer_norm"),
            ("LayerNorm", "final_layer_norm"),
        ):
            tensors[f"{layer}.{name}.weight"] = get(f"{theirs}/{published}::scale")
            tensors[f"{layer}.{name}.bias"] = get(f"{theirs}/{published}::offset")
        tensors[f"{layer}.intermediate.dense.weight"] = get(f"{theirs}/fc1::w")
        tensors[f"{layer}.output.dense.weight"] = get(f"{theirs}/fc2::w")
    return tensors


def released_isoformer_tensors() -> dict[str, Tensor]:
    """The reconstructed layout of the released IsoFormer, under prefixes of our own choosing."""
    generator = torch.Generator().manual_seed(4)
    config = tiny_published_config()
    assert config.rna is not None
    assert config.protein is not None
    parts = {
        "encoder_a.": dict(published_enformer().state_dict()),
        "encoder_b.": nucleotide_transformer_tensors(),
        "encoder_c.": esm_tensors(published_esm()),
    }
    tensors = {prefix + name: value.clone() for prefix, part in parts.items() for name, value in part.items()}
    for name, width in (("rna", config.rna.width), ("protein", config.protein.width)):
        layer = f"cross_attention_layer_{name}"
        for part, columns in (("query", 96), ("key", width), ("value", width), ("dense", 96)):
            tensors[f"{layer}.{part}.weight"] = torch.randn(96, columns, generator=generator)
            tensors[f"{layer}.{part}.bias"] = torch.randn(96, generator=generator)
    for name, rows, columns in (("head_layer_1", 192, 96), ("head_layer_2", len(GTEX_TISSUES), 192)):
        tensors[f"{name}.weight"] = torch.randn(rows, columns, generator=generator)
        tensors[f"{name}.bias"] = torch.randn(rows, generator=generator)
    return tensors


def write(tensors: dict[str, Tensor], path: Path) -> Path:
    """A safetensors file of tensors."""
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, path)
    return path
