"""The Enformer trunk against `enformer-pytorch`, with its random weights copied across."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor

from model.config import EnformerConfig
from model.encoders.enformer import Enformer
from model.encoders.positions import positional_features

if TYPE_CHECKING:
    from torch import nn

TOLERANCE = 1e-5


def published_pair(
    *, dim: int, depth: int, heads: int, stages: int, positions: int, kept: int, batch_norm: str = "frozen"
) -> tuple[Enformer, nn.Module]:
    """Ours and theirs with the same weights, ours with their table of positional features, fp32, evaluation mode."""
    from enformer_pytorch import Enformer as Published
    from enformer_pytorch.modeling_enformer import exponential_linspace_int, get_positional_embed

    torch.manual_seed(0)
    theirs = Published.from_hparams(
        dim=dim,
        depth=depth,
        heads=heads,
        target_length=kept,
        attn_dim_key=64,
        num_downsamples=stages + 1,
        dim_divisible_by=dim // 12,
        output_heads={},
        use_tf_gamma=False,
        dropout_rate=0.0,
        attn_dropout=0.0,
        pos_dropout=0.0,
    ).eval()
    for name, value in theirs.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.is_floating_point():
            # Also what their initialisation leaves at zero, at a scale that keeps states near 1.
            value.copy_(torch.randn_like(value) / math.sqrt(max(1, math.prod(value.shape[1:]))))
    config = EnformerConfig(
        stem_channels=dim // 2,
        tower_channels=tuple(exponential_linspace_int(dim // 2, dim, num=stages, divisible_by=dim // 12)),
        layers=depth,
        heads=heads,
        key_size=64,
        value_size=dim // heads,
        position_features=dim // heads,
        crop_positions=(positions - kept) // 2,
        output_channels=2 * dim,
        dropout=0.0,
        attention_dropout=0.0,
        position_dropout=0.0,
        output_dropout=0.0,
        batch_norm=batch_norm,  # type: ignore[arg-type]
    )
    ours = Enformer(config, positions * config.bp_per_position).eval()
    ours.load_state_dict(_translated(theirs.state_dict(), stages, depth))
    ours.positions = get_positional_embed(positions, dim // heads, torch.device("cpu"), False)
    return ours, theirs


def _translated(state: dict[str, Tensor], stages: int, depth: int) -> dict[str, Tensor]:
    """Their tensors under our names."""
    names = {"stem.0": "stem_conv", "stem.2.to_attn_logits": "stem_pool.logits", "final_pointwise.1.0": "final.norm"}
    names |= {"stem.1.fn.0": "stem_residual.norm", "stem.1.fn.2": "stem_residual.conv"}
    names["final_pointwise.1.2"] = "final.conv"
    for index in range(stages):
        for theirs, ours in {
            "0.0": "conv.norm",
            "0.2": "conv.conv",
            "1.fn.0": "residual.norm",
            "1.fn.2": "residual.conv",
            "2.to_attn_logits": "pool.logits",
        }.items():
            names[f"conv_tower.{index}.{theirs}"] = f"tower.{index}.{ours}"
    for index in range(depth):
        for theirs, ours in {
            "0.fn.0": "attention_norm",
            "0.fn.1.to_q": "attention.query",
            "0.fn.1.to_k": "attention.key",
            "0.fn.1.to_v": "attention.value",
            "0.fn.1.to_out": "attention.output",
            "0.fn.1.to_rel_k": "attention.relative_key",
            "1.fn.0": "feed_forward_norm",
            "1.fn.1": "feed_forward_in",
            "1.fn.4": "feed_forward_out",
        }.items():
            names[f"transformer.{index}.{theirs}"] = f"transformer.{index}.{ours}"
    translated = {}
    for name, value in state.items():
        module, _, kind = name.rpartition(".")
        if name.startswith("_trunk."):
            continue  # the same tensors once more
        if kind in ("rel_content_bias", "rel_pos_bias"):
            ours = "content_bias" if kind == "rel_content_bias" else "position_bias"
            translated[f"transformer.{module.split('.')[1]}.attention.{ours}"] = value[0, :, 0]
        elif module in names and kind != "num_batches_tracked":
            # Their pooling logits are an image convolution.
            translated[f"{names[module]}.{kind}"] = value[..., 0] if "to_attn_logits" in module else value
    return translated


def compare(
    ours: Enformer, theirs: nn.Module, windows: int, *, training: bool = False, tolerance: float = TOLERANCE
) -> None:
    """Equal states to 1e-5, or `tolerance`, for random windows with unknown bases."""
    length = (ours.output_positions + 2 * ours.config.crop_positions) * ours.config.bp_per_position
    codes = np.random.default_rng(0).integers(0, 5, (windows, length)).astype(np.uint8)
    one_hot = np.concatenate([np.eye(4), np.zeros((1, 4))])[codes]
    ours.train(training)
    theirs.train(training)
    with torch.no_grad():
        found = ours(torch.from_numpy(codes))
        expected = theirs(torch.from_numpy(one_hot).to(found.dtype), return_only_embeddings=True)
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_trunk_equals_enformer_pytorch() -> None:
    """Three tower stages, two layers, 24 of 32 positions kept."""
    compare(*published_pair(dim=48, depth=2, heads=4, stages=3, positions=32, kept=24), windows=3)


def test_training_statistics_equal_enformer_pytorch() -> None:
    """`batch_norm: global` in training: the batch's statistics, and what is remembered of them."""
    ours, theirs = published_pair(dim=48, depth=1, heads=4, stages=3, positions=32, kept=24, batch_norm="global")
    compare(ours, theirs, windows=3, training=True)
    expected = theirs.stem[1].fn[0]  # type: ignore[index, union-attr]
    torch.testing.assert_close(ours.stem_residual.norm.running_mean, expected.running_mean)
    torch.testing.assert_close(ours.stem_residual.norm.running_var, expected.running_var)


@pytest.mark.slow
def test_larger_trunk_equals_enformer_pytorch() -> None:
    """All six tower stages and eight heads of the published layout, at a quarter of its width."""
    compare(*published_pair(dim=384, depth=4, heads=8, stages=6, positions=192, kept=112), windows=1)


def test_trunk_of_full_depth_equals_enformer_pytorch_in_float64() -> None:
    """Six tower stages and eleven layers, as published, narrow: what differs more in fp32 is rounding."""
    from enformer_pytorch.modeling_enformer import get_positional_embed

    ours, theirs = published_pair(dim=96, depth=11, heads=8, stages=6, positions=32, kept=16)
    ours, theirs = ours.double(), theirs.double()
    ours.positions = get_positional_embed(32, 96 // 8, torch.device("cpu"), False, torch.float64)
    compare(ours, theirs, windows=2, tolerance=1e-10)


@pytest.mark.parametrize("positions", [48, 1536])
def test_their_positional_features_are_our_per_distance_basis(positions: int) -> None:
    """In fp32 theirs, in float64 ours: equal to the rounding of theirs."""
    from enformer_pytorch.modeling_enformer import get_positional_embed

    theirs = get_positional_embed(positions, 192, torch.device("cpu"), False).numpy()
    ours = positional_features(positions, 192, "per_distance")
    # exp of a difference of numbers near 1e4, in fp32: their error, not ours (scipy agrees with ours to 1e-9).
    np.testing.assert_allclose(ours, theirs, atol=3e-3)
    np.testing.assert_allclose(ours[:, :64], theirs[:, :64], atol=1e-5)


def test_their_tensorflow_table_is_our_per_basis_one() -> None:
    """The table that goes with raw Enformer weights, recorded from TensorFlow in fp32."""
    from enformer_pytorch.modeling_enformer import TF_GAMMAS

    ours = positional_features(1536, 192, "per_basis")[:, 64:96]
    np.testing.assert_allclose(ours, TF_GAMMAS.numpy(), atol=3e-3)
