"""The pre-norm rotary encoder that ESM-2 and Nucleotide Transformer v2 both are, on packed tokens.

T tokens, D channels, H heads of K channels, F feed-forward channels; N sequences of at most L tokens in a block.
Sources: Lin et al. 2023 (ESM-2); Dalla-Torre et al. 2024 (Nucleotide Transformer v2).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from model.config import RotaryConfig
from model.encoders.layout import TokenLayout
from model.tokenizers import ESM_MASK, SIXMER_MASK

ROTARY_BASE = 10_000.0
TRAINED_MASK_SHARE = 0.15 * 0.8
INITIAL_DEVIATION = 0.02
AMPERE = 8  # compute capability


class RotaryEncoder(nn.Module):
    """Token embedding, `layers` pre-norm blocks, a final LayerNorm; no learned positions."""

    def __init__(self, config: RotaryConfig) -> None:
        super().__init__()
        self.config = config
        self.mask_id = ESM_MASK if config.alphabet == "esm" else SIXMER_MASK
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        nn.init.normal_(self.embedding.weight, std=INITIAL_DEVIATION)
        self.layers = nn.ModuleList(RotaryLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)

    def forward(self, tokens_T: Tensor, layout: TokenLayout) -> Tensor:
        """Token ids (T,) → states (T, D)."""
        x_TD = self._embed(tokens_T, layout)
        rotation = rotary_table(layout.position, self.config.width // self.config.heads, x_TD.dtype)
        for layer in self.layers:
            x_TD = layer(x_TD, layout, rotation)
        normed: Tensor = self.norm(x_TD)
        return normed

    def _embed(self, tokens_T: Tensor, layout: TokenLayout) -> Tensor:
        x_TD: Tensor = self.embedding(tokens_T)
        if self.config.token_dropout:
            # ESM-2 was trained with 12 % of embeddings zeroed, and rescales to that share at every length.
            hidden_T = tokens_T == self.mask_id
            x_TD = x_TD.masked_fill(hidden_T[:, None], 0)
            share_N = layout.mean(hidden_T[:, None].to(x_TD.dtype))[:, 0]
            scale_N = (1 - TRAINED_MASK_SHARE) / (1 - share_N)
            x_TD = x_TD * scale_N[layout.row][:, None]
        return F.dropout(x_TD, self.config.embedding_dropout, self.training)


class RotaryLayer(nn.Module):
    """x + Attention(LN(x)), then x + FeedForward(LN(x))."""

    def __init__(self, config: RotaryConfig) -> None:
        super().__init__()
        width, inner = config.width, config.feed_forward_width
        self.heads, self.dropout, self.gated = config.heads, config.dropout, config.feed_forward == "gated_silu"
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        # Gated: the first half of the rows is the gate.
        self.feed_forward_in = nn.Linear(width, 2 * inner if self.gated else inner, bias=not self.gated)
        self.feed_forward_out = nn.Linear(inner, width, bias=not self.gated)
        depth_scale = 1 / math.sqrt(2 * config.layers)
        for linear, gain in (
            (self.query_key_value, 1.0),
            (self.attention_output, depth_scale),
            (self.feed_forward_in, 1.0),
            (self.feed_forward_out, depth_scale),
        ):
            initialise_linear(linear, gain)

    def forward(self, x_TD: Tensor, layout: TokenLayout, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """States (T, D) → states (T, D)."""
        x_TD = x_TD + F.dropout(self._attend(x_TD, layout, rotation), self.dropout, self.training)
        return x_TD + F.dropout(self._feed_forward(x_TD), self.dropout, self.training)

    def _attend(self, x_TD: Tensor, layout: TokenLayout, rotation: tuple[Tensor, Tensor]) -> Tensor:
        width = x_TD.shape[-1]
        qkv_T3HK = self.query_key_value(self.attention_norm(x_TD)).view(-1, 3, self.heads, width // self.heads)
        query_key, value = qkv_T3HK.split((2, 1), dim=1)
        query_key = rotate(query_key, rotation).to(value.dtype)
        if layout.bounds is not None and has_varlen_kernel(value):
            mixed_TD = packed_attention(
                query_key[:, 0], query_key[:, 1], value[:, 0], layout.bounds, layout.length
            ).flatten(1)
        else:
            mixed_TD = self._attend_in_blocks(torch.cat([query_key, value], dim=1).flatten(1), layout)
        attended: Tensor = self.attention_output(mixed_TD)
        return attended

    def _attend_in_blocks(self, qkv_TE: Tensor, layout: TokenLayout) -> Tensor:
        width = qkv_TE.shape[1] // 3
        pieces = []
        for block, qkv_NLE in zip(layout.blocks, layout.per_block(qkv_TE), strict=True):
            qkv = qkv_NLE.view(block.sequences, block.length, 3, self.heads, width // self.heads)
            q_NHLK, k_NHLK, v_NHLK = qkv.permute(2, 0, 3, 1, 4)
            out_NHLK = F.scaled_dot_product_attention(q_NHLK, k_NHLK, v_NHLK, attn_mask=block.key_mask)
            pieces.append(block.collect(out_NHLK.transpose(1, 2).reshape(block.sequences, block.length, width)))
        return torch.cat(pieces) if len(pieces) > 1 else pieces[0] if pieces else qkv_TE[:, :width]

    def _feed_forward(self, x_TD: Tensor) -> Tensor:
        inner = self.feed_forward_in(self.feed_forward_norm(x_TD))
        if self.gated:
            gate_TF, value_TF = inner.chunk(2, dim=-1)
            inner = F.silu(gate_TF) * value_TF
        else:
            inner = F.gelu(inner)
        out: Tensor = self.feed_forward_out(inner)
        return out


def has_varlen_kernel(x_THK: Tensor) -> bool:
    """Whether the GPU's variable-length attention takes these: 16 bits, Ampere or later, heads of 8·n."""
    half = x_THK.dtype in (torch.bfloat16, torch.float16)
    if not (x_THK.is_cuda and half and x_THK.shape[0] and x_THK.shape[-1] % 8 == 0):
        return False
    return torch.cuda.get_device_capability(x_THK.device)[0] >= AMPERE


def packed_attention(q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, bounds: Tensor, longest: int) -> Tensor:
    """Attention of packed tokens within their own sequence, one kernel without padding: (T, H, K)."""
    from torch.nn.attention.varlen import varlen_attn

    mixed = varlen_attn(q_THK, k_THK, v_THK, bounds, bounds, longest, longest)
    assert isinstance(mixed, Tensor)
    return mixed


def initialise_linear(linear: nn.Linear, gain: float) -> None:
    """Normal weights of deviation gain/√(fan in), zero bias: keeps small widths trainable from scratch."""
    nn.init.normal_(linear.weight, std=gain / math.sqrt(linear.in_features))
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)


def rotary_table(position_T: Tensor, head_width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine (T, 1, 1, K/2) of the rotary angles of positions, computed in at least float32."""
    precise = torch.float64 if dtype == torch.float64 else torch.float32
    half = torch.arange(0, head_width, 2, device=position_T.device, dtype=precise) / head_width
    angle_TK = position_T[:, None].to(precise) * ROTARY_BASE**-half
    return angle_TK.cos().to(dtype)[:, None, None], angle_TK.sin().to(dtype)[:, None, None]


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate (T, 2, H, K) by half-split rotary angles."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
