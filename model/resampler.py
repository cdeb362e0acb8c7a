"""Compress the tokens of a modality to a fixed number before another one attends to them.

N sequences of at most L tokens, M compressed tokens, C channels, H heads. The paper names these variants without sizes;
they are settings. Sources: Alayrac et al. 2022 (Perceiver Resampler), Cha et al. 2024 (C-Abstractor).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from model.config import FusionConfig
from model.encoders.rotary_encoder import INITIAL_DEVIATION, initialise_linear
from model.errors import InputError

CONV_KERNEL = 3


class PerceiverResampler(nn.Module):
    """Learned latents that read the tokens by cross-attention, with feed-forward layers between, and a final norm."""

    def __init__(self, width: int, config: FusionConfig) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(config.latents, width) * INITIAL_DEVIATION)
        self.blocks = nn.ModuleList(ResamplerBlock(width, config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, x_NLC: Tensor, lengths_N: Tensor) -> Tensor:
        """(N, L, C) with lengths (N,) → (N, M, C)."""
        latents_NMC = self.latents.expand(x_NLC.shape[0], -1, -1)
        for block in self.blocks:
            latents_NMC = block(latents_NMC, x_NLC, lengths_N)
        out: Tensor = self.norm(latents_NMC)
        return out


class ResamplerBlock(nn.Module):
    """x + Attention(LN(x), LN(tokens)), then x + feed-forward(LN(x))."""

    def __init__(self, width: int, config: FusionConfig) -> None:
        super().__init__()
        if width % config.heads:
            raise InputError(
                where="model.fusion.heads",
                expected=f"a divisor of the context's {width} channels",
                found=str(config.heads),
                fix="Choose another number of heads.",
            )
        self.heads = config.heads
        inner = config.feed_forward_factor * width
        self.latent_norm, self.token_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward_in = nn.Linear(width, inner)
        self.feed_forward_out = nn.Linear(inner, width)
        depth_gain = 1 / math.sqrt(2 * config.depth)
        for linear in (self.query, self.key_value, self.feed_forward_in):
            initialise_linear(linear, 1.0)
        for linear in (self.output, self.feed_forward_out):
            initialise_linear(linear, depth_gain)

    def forward(self, latents_NMC: Tensor, x_NLC: Tensor, lengths_N: Tensor) -> Tensor:
        """(N, M, C) reading (N, L, C) → (N, M, C)."""
        query = self._heads(self.query(self.latent_norm(latents_NMC)))
        key, value = map(self._heads, self.key_value(self.token_norm(x_NLC)).chunk(2, dim=-1))
        places = torch.arange(x_NLC.shape[1], device=x_NLC.device)
        mask = (places < lengths_N.clamp(min=1)[:, None])[:, None, None]
        mixed = attention(query, key, value, mask)
        latents_NMC = latents_NMC + self.output(mixed.transpose(1, 2).flatten(2))
        inner = F.gelu(self.feed_forward_in(self.feed_forward_norm(latents_NMC)))
        return latents_NMC + self.feed_forward_out(inner)

    def _heads(self, x_NLC: Tensor) -> Tensor:
        return x_NLC.unflatten(2, (self.heads, -1)).transpose(1, 2)


class CAbstractor(nn.Module):
    """Residual convolutions, adaptive mean pooling to M tokens, residual convolutions, a final norm."""

    def __init__(self, width: int, config: FusionConfig) -> None:
        super().__init__()
        self.tokens = config.latents
        self.before = nn.ModuleList(ConvBlock(width, config.feed_forward_factor) for _ in range(config.depth))
        self.after = nn.ModuleList(ConvBlock(width, config.feed_forward_factor) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, x_NLC: Tensor, lengths_N: Tensor) -> Tensor:
        """(N, L, C) with lengths (N,) → (N, M, C)."""
        mask_NL1 = (torch.arange(x_NLC.shape[1], device=x_NLC.device) < lengths_N[:, None])[..., None].to(x_NLC.dtype)
        for block in self.before:
            # Padding is zero before each convolution, as is what lies past the ends of the longest sequence.
            x_NLC = block(x_NLC * mask_NL1)
        pooled_NMC = adaptive_mean_weights(lengths_N, x_NLC.shape[1], self.tokens).to(x_NLC.dtype) @ x_NLC
        for block in self.after:
            pooled_NMC = block(pooled_NMC)
        out: Tensor = self.norm(pooled_NMC)
        return out


class ConvBlock(nn.Module):
    """x + pointwise(GELU(pointwise(LN(depthwise convolution(x)))))."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, CONV_KERNEL, padding=CONV_KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, factor * width)
        self.outer = nn.Linear(factor * width, width)
        initialise_linear(self.inner, 1.0)
        initialise_linear(self.outer, 1 / math.sqrt(2))

    def forward(self, x_NLC: Tensor) -> Tensor:
        """(N, L, C) → (N, L, C)."""
        mixed = self.depthwise(x_NLC.transpose(1, 2)).transpose(1, 2)
        return x_NLC + self.outer(F.gelu(self.inner(self.norm(mixed))))


def attention(q_NHMK: Tensor, k_NHLK: Tensor, v_NHLK: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention, (N, H, M, K); `mask` is true where a key counts. N may be 0."""
    if q_NHMK.shape[0] == 0:
        # Kernels of a GPU may refuse an empty batch; its gradients are zero, not missing.
        return q_NHMK + (k_NHLK + v_NHLK).sum(dim=2, keepdim=True)
    return F.scaled_dot_product_attention(q_NHMK, k_NHLK, v_NHLK, attn_mask=mask)


def adaptive_mean_weights(lengths_N: Tensor, length: int, bins: int) -> Tensor:
    """Weights (N, M, L) that average n tokens into M bins, bin j over ⌊j·n/M⌋ to ⌈(j+1)·n/M⌉; zero where n is 0."""
    place = torch.arange(length, device=lengths_N.device)
    bin_M = torch.arange(bins, device=lengths_N.device)
    first = bin_M * lengths_N[:, None] // bins
    last = -(-(bin_M + 1) * lengths_N[:, None] // bins)
    inside = (place >= first[..., None]) & (place < last[..., None])
    return inside / (last - first).clamp(min=1)[..., None]
