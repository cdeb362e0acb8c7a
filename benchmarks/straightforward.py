"""IsoFormer as one writes it first: published towers, batches padded to their longest, DNA encoded for each transcript.

B transcripts, L tokens, Q positions, D channels. The towers are `enformer-pytorch` and `transformers`; `same_network`
gives one of our own with the same weights, so that a comparison of speed is one of equal results.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from safetensors.torch import save_file
from torch import Tensor, nn

from model.batch import PackedBatch
from model.config import EnformerConfig, FusionConfig, HeadConfig, IsoFormerConfig, RotaryConfig
from model.isoformer import IsoFormer
from model.pretrained import load_tower
from model.tokenizers import ESM_MASK, ESM_PAD


class Attend(nn.Module):
    """Cross-attention of DNA positions to padded tokens, with a residual connection."""

    def __init__(self, width: int, context_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.dense = nn.Linear(width, width), nn.Linear(width, width)
        self.key, self.value = nn.Linear(context_width, width), nn.Linear(context_width, width)

    def forward(self, x_BQD: Tensor, context_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """(B, Q, D) → (B, Q, D); transcripts without context stay as they are."""
        q, k, v = (
            layer(y).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, y in ((self.query, x_BQD), (self.key, context_BLD), (self.value, context_BLD))
        )
        present_B = mask_BL.any(dim=1)
        mask = (mask_BL | ~present_B[:, None])[:, None, None]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        return x_BQD + self.dense(mixed) * present_B[:, None, None]


class Straightforward(nn.Module):
    """Three published towers, two cross-attention layers from DNA, mean, head."""

    def __init__(self, config: IsoFormerConfig) -> None:
        super().__init__()
        assert isinstance(config.dna, EnformerConfig)
        assert config.rna is not None
        assert config.protein is not None
        width = config.dna.output_channels
        self.dna = published_enformer(config.dna, config.window_bp)
        self.rna, self.protein = published_esm(config.rna), published_esm(config.protein)
        self.attend_rna = Attend(width, config.rna.width, config.fusion.heads)
        self.attend_protein = Attend(width, config.protein.width, config.fusion.heads)
        self.inner = nn.Linear(width, round(width * config.head.expansion))
        self.outer = nn.Linear(self.inner.out_features, len(config.tissues))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Standardised log1p expression, (B, tissues)."""
        x = self.dna(batch["dna"], return_only_embeddings=True)
        for name, attend in (("rna", self.attend_rna), ("protein", self.attend_protein)):
            mask = batch[f"{name}_mask"]
            states = getattr(self, name)(batch[name], attention_mask=mask.long()).last_hidden_state
            x = attend(x, states, mask)
        predicted: Tensor = self.outer(F.gelu(self.inner(x.mean(dim=1))))
        return predicted

    def train(self, mode: bool = True) -> Straightforward:
        """Training mode, with the running statistics of batch norms standing still."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()
        return self


def padded(packed: PackedBatch, device: torch.device) -> dict[str, Tensor]:
    """The batch as the straightforward network reads it: one-hot DNA for each transcript, padded tokens with masks."""
    codes = torch.from_numpy(packed.windows[packed.window_of_transcript]).to(device)
    batch = {"dna": (codes[..., None] == torch.arange(4, device=device)).float()}
    for name in ("rna", "protein"):
        tokens, offsets = getattr(packed, f"{name}_tokens"), getattr(packed, f"{name}_offsets")
        lengths = np.diff(offsets)
        mask = np.arange(max(1, int(lengths.max()))) < lengths[:, None]
        ids = np.full(mask.shape, ESM_PAD, dtype=np.int64)
        ids[mask] = tokens
        batch |= {name: torch.from_numpy(ids).to(device), f"{name}_mask": torch.from_numpy(mask).to(device)}
    return batch


def same_network(peer: Straightforward, config: IsoFormerConfig) -> IsoFormer:
    """Our network with the peer's weights."""
    model = IsoFormer(config)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("dna", "rna", "protein"):
            path = Path(folder) / f"{name}.safetensors"
            prefix = "" if name == "dna" else "esm."
            state = getattr(peer, name).state_dict()
            save_file({prefix + key: value.clone() for key, value in state.items()}, path)
            load_tower(model, name, path)  # type: ignore[arg-type]
    target: Any = model.fusion.targets["dna"]
    target.layers["rna"].load_state_dict(peer.attend_rna.state_dict())
    target.layers["protein"].load_state_dict(peer.attend_protein.state_dict())
    model.head.inner.load_state_dict(peer.inner.state_dict())
    model.head.outer.load_state_dict(peer.outer.state_dict())
    return model


def published_enformer(config: EnformerConfig, window_bp: int) -> nn.Module:
    """`enformer-pytorch` of this size, without dropout."""
    from enformer_pytorch import Enformer
    from enformer_pytorch import EnformerConfig as Published

    return Enformer(
        Published(
            dim=config.width,
            depth=config.layers,
            heads=config.heads,
            attn_dim_key=config.key_size,
            num_downsamples=1 + len(config.tower_channels),
            dim_divisible_by=config.tower_channels[1] - config.tower_channels[0] or 1,
            target_length=window_bp // config.bp_per_position - 2 * config.crop_positions,
            dropout_rate=0.0,
            attn_dropout=0.0,
            pos_dropout=0.0,
            output_heads={"human": 1, "mouse": 1},
        )
    )


def published_esm(config: RotaryConfig) -> nn.Module:
    """`transformers`' EsmModel of this size, without dropout."""
    from transformers import EsmConfig, EsmModel

    return EsmModel(
        EsmConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.feed_forward_width,
            position_embedding_type="rotary",
            token_dropout=config.token_dropout,
            emb_layer_norm_before=False,
            layer_norm_eps=config.layer_norm_eps,
            mask_token_id=ESM_MASK,
            pad_token_id=ESM_PAD,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            attn_implementation="sdpa",
        ),
        add_pooling_layer=False,
    )


def small_config() -> IsoFormerConfig:
    """Sizes for a CPU, with about the published network's shares of operations: DNA five sixths."""
    rna = RotaryConfig(
        alphabet="sixmer",
        layers=1,
        width=64,
        heads=2,
        feed_forward_width=256,
        feed_forward="gelu",
        max_tokens=2048,
    )
    return IsoFormerConfig(
        name="benchmark",
        window_bp=16384,
        dna=EnformerConfig(
            stem_channels=72,
            tower_channels=(72, 84, 96, 108, 120, 144),
            layers=2,
            heads=4,
            key_size=16,
            value_size=36,
            position_features=36,
            crop_positions=27,
            output_channels=288,
            **{f"{name}dropout": 0.0 for name in ("", "attention_", "position_", "output_")},
        ),
        rna=rna,
        protein=RotaryConfig(
            alphabet="esm",
            layers=1,
            width=48,
            heads=2,
            feed_forward_width=192,
            feed_forward="gelu",
            max_tokens=2048,
            token_dropout=True,
        ),
        fusion=FusionConfig(targets=("dna",), heads=8),
        head=HeadConfig(expansion=2.0),
        output_mean=(0.0,) * 30,
        output_std=(1.0,) * 30,
    )
