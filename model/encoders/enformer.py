"""The Enformer trunk (Avsec et al. 2021, Methods): convolutions, then a transformer with relative positions.

W windows of B base pairs, C channels, L positions of a convolutional stage, P positions of the transformer (Q of them
kept), H heads of K key and V value channels, R relative distances, F positional features, D output channels.
Channels come last everywhere: norms, pooling and pointwise convolutions are faster so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from model.config import STEM_KERNEL, TOWER_KERNEL, EnformerConfig
from model.encoders.batch_norm import WindowBatchNorm, window_shares
from model.encoders.positions import positional_features
from model.encoders.rotary_encoder import initialise_linear

GELU_SLOPE = 1.702
LAYER_NORM_EPSILON = 1e-5


class Enformer(nn.Module):
    """DNA windows in, one state per `bp_per_position` base pairs out, the outer positions cropped."""

    positions: Tensor

    def __init__(self, config: EnformerConfig, window_bp: int) -> None:
        super().__init__()
        self.config = config
        frozen = config.batch_norm == "frozen"
        self.stem_conv = _conv(4, config.stem_channels, STEM_KERNEL)
        self.stem_residual = NormGeluConv(config.stem_channels, config.stem_channels, 1, frozen=frozen)
        self.stem_pool = AttentionPool(config.stem_channels)
        widths = (config.stem_channels, *config.tower_channels)
        self.tower = nn.ModuleList(
            TowerStage(before, after, frozen=frozen) for before, after in itertools.pairwise(widths)
        )
        length = window_bp // config.bp_per_position
        self.kept = (config.crop_positions, length - config.crop_positions)
        self._table = positional_features(length, config.position_features, config.gamma_basis)
        self.register_buffer("positions", torch.tensor(self._table, dtype=torch.float32), persistent=False)
        self.transformer = nn.ModuleList(TransformerLayer(config) for _ in range(config.layers))
        self.final = NormGeluConv(config.width, config.output_channels, 1, frozen=frozen)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Enformer:
        """Move or convert the trunk; the table of positions is made anew, since bf16 would keep 8 bits of it."""
        super()._apply(fn, recurse)
        precise = torch.float64 if self.positions.dtype == torch.float64 else torch.float32
        self.positions = torch.tensor(self._table, dtype=precise, device=self.positions.device)
        return self

    @property
    def output_positions(self) -> int:
        """Positions that leave the encoder per window, Q."""
        return self.kept[1] - self.kept[0]

    def forward(self, windows_WB: Tensor) -> Tensor:
        """Codes uint8 (W, B) → states (W, Q, D)."""
        share_W = window_shares(windows_WB) if self.training and self.config.batch_norm == "global" else None
        x_WLC = convolve(one_hot(windows_WB, self.stem_conv.weight.dtype), self.stem_conv.weight, self.stem_conv.bias)
        x_WLC = self.stem_pool(x_WLC + self.stem_residual(x_WLC, share_W))
        for stage in self.tower:
            x_WLC = stage(x_WLC, share_W)
        last = len(self.transformer) - 1
        for index, layer in enumerate(self.transformer):
            # What is cropped afterwards need not be computed in the last layer.
            kept = self.kept if index == last else (0, x_WLC.shape[1])
            x_WLC = layer(x_WLC, self.positions, kept)
        if last < 0:
            x_WLC = x_WLC[:, self.kept[0] : self.kept[1]]
        x_WQD = self.final(x_WLC, share_W)
        return gelu(F.dropout(x_WQD, self.config.output_dropout, self.training))


def one_hot(windows_WB: Tensor, dtype: torch.dtype) -> Tensor:
    """Codes (W, B), A0 C1 G2 T3 → (W, B, 4); N is all zeros."""
    bases = torch.arange(4, device=windows_WB.device, dtype=windows_WB.dtype)
    return (windows_WB[..., None] == bases).to(dtype)


def convolve(x_WLC: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolution that keeps the length: (W, L, C) with weight (C', C, odd kernel) → (W, L, C').

    As an image of height 1 in the channels-last format, which needs no copy.
    """
    image = x_WLC.transpose(1, 2)[:, :, None]
    out = F.conv2d(image, weight[:, :, None], bias, padding=(0, weight.shape[2] // 2))
    return out[:, :, 0].transpose(1, 2)


def gelu(x: Tensor) -> Tensor:
    """The Enformer's approximation x·σ(1.702 x)."""
    return F.silu(x * GELU_SLOPE) / GELU_SLOPE


class NormGeluConv(nn.Module):
    """BatchNorm → GELU → Conv1d: (W, L, C) → (W, L, C').

    GELU(x) = silu(1.702 x)/1.702: the factors go into the norm and the kernel, which saves two passes over the data.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int, *, frozen: bool) -> None:
        super().__init__()
        self.norm = WindowBatchNorm(channels, frozen=frozen)
        self.conv = _conv(channels, out_channels, kernel)

    def forward(self, x_WLC: Tensor, share_W: Tensor | None) -> Tensor:
        """(W, L, C) → (W, L, C')."""
        activated = F.silu(self.norm(x_WLC, share_W, GELU_SLOPE))
        return convolve(activated, self.conv.weight / GELU_SLOPE, self.conv.bias)


class TowerStage(nn.Module):
    """A widening convolution, a pointwise residual one, and pooling to half the length."""

    def __init__(self, channels: int, out_channels: int, *, frozen: bool) -> None:
        super().__init__()
        self.conv = NormGeluConv(channels, out_channels, TOWER_KERNEL, frozen=frozen)
        self.residual = NormGeluConv(out_channels, out_channels, 1, frozen=frozen)
        self.pool = AttentionPool(out_channels)

    def forward(self, x_WLC: Tensor, share_W: Tensor | None) -> Tensor:
        """(W, L, C) → (W, L/2, C')."""
        x_WLC = self.conv(x_WLC, share_W)
        pooled: Tensor = self.pool(x_WLC + self.residual(x_WLC, share_W))
        return pooled


class AttentionPool(nn.Module):
    """Softmax-weighted sum of each pair of positions; the logits are a 1×1 convolution without bias.

    A softmax over two is a sigmoid of the difference of logits, and the convolution is linear: it is applied to the
    difference of the pair, at half the cost.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.logits = nn.Conv1d(channels, channels, 1, bias=False)
        # Twice the identity: starts close to max pooling.
        nn.init.dirac_(self.logits.weight)
        with torch.no_grad():
            self.logits.weight.mul_(2)

    def forward(self, x_WLC: Tensor) -> Tensor:
        """(W, L, C) → (W, L/2, C)."""
        first, second = x_WLC.unflatten(1, (-1, 2)).unbind(2)
        difference = first - second
        return torch.addcmul(second, convolve(difference, self.logits.weight, None).sigmoid(), difference)


class TransformerLayer(nn.Module):
    """x + Dropout(Attention(LN(x))), then x + feed-forward with ReLU; both with dropout."""

    def __init__(self, config: EnformerConfig) -> None:
        super().__init__()
        width = config.width
        self.dropout = config.dropout
        self.attention_norm = nn.LayerNorm(width, eps=LAYER_NORM_EPSILON)
        self.attention = RelativeAttention(config)
        self.feed_forward_norm = nn.LayerNorm(width, eps=LAYER_NORM_EPSILON)
        self.feed_forward_in = nn.Linear(width, 2 * width)
        self.feed_forward_out = nn.Linear(2 * width, width)
        initialise_linear(self.feed_forward_in, 1.0)
        initialise_linear(self.feed_forward_out, 1 / math.sqrt(2 * config.layers))

    def forward(self, x_WPC: Tensor, features_RF: Tensor, kept: tuple[int, int]) -> Tensor:
        """(W, P, C) → (W, Q, C): the positions `kept`, all of which attend to all P."""
        attended = self.attention(self.attention_norm(x_WPC), features_RF, kept)
        x_WQC = x_WPC[:, kept[0] : kept[1]] + F.dropout(attended, self.dropout, self.training)
        inner = self.feed_forward_in(self.feed_forward_norm(x_WQC))
        inner = F.relu(F.dropout(inner, self.dropout, self.training))
        return x_WQC + F.dropout(self.feed_forward_out(inner), self.dropout, self.training)


class RelativeAttention(nn.Module):
    """Attention with learned projections of positional features (Transformer-XL form)."""

    def __init__(self, config: EnformerConfig) -> None:
        super().__init__()
        self.config = config
        keys, values = config.heads * config.key_size, config.heads * config.value_size
        self.query = nn.Linear(config.width, keys, bias=False)
        self.key = nn.Linear(config.width, keys, bias=False)
        self.value = nn.Linear(config.width, values, bias=False)
        self.output = nn.Linear(values, config.width)
        self.relative_key = nn.Linear(config.position_features, keys, bias=False)
        self.content_bias = nn.Parameter(torch.randn(config.heads, config.key_size))
        self.position_bias = nn.Parameter(torch.randn(config.heads, config.key_size))
        self._kept_keys: tuple[tuple[Any, ...], Tensor] | None = None
        for linear in (self.query, self.key, self.value, self.relative_key):
            initialise_linear(linear, 1.0)
        initialise_linear(self.output, 1 / math.sqrt(2 * config.layers))

    def forward(self, x_WPC: Tensor, features_RF: Tensor, kept: tuple[int, int]) -> Tensor:
        """(W, P, C) → (W, Q, C) for the query positions `kept`."""
        config = self.config
        length = x_WPC.shape[1]
        queries = kept[1] - kept[0]
        q_WQHK = self.query(x_WPC[:, kept[0] : kept[1]]).unflatten(2, (config.heads, -1)) * config.key_size**-0.5
        k_WPHK = self.key(x_WPC).unflatten(2, (config.heads, -1))
        v_WPHV = self.value(x_WPC).unflatten(2, (config.heads, -1))
        # Distances that any kept query sees: from −(last query) to P − 1 − (first query).
        first = length - kept[1]
        r_RHK = self._relative_keys(features_RF[first : first + queries + length - 1]).to(q_WQHK.dtype)
        content = torch.einsum("wqhk,wphk->whqp", q_WQHK + self.content_bias, k_WPHK)
        relative = torch.einsum("wqhk,rhk->whqr", q_WQHK + self.position_bias, r_RHK)
        weights_WHQP = (content + relative_shift(relative, length)).softmax(dim=-1)
        weights_WHQP = F.dropout(weights_WHQP, config.attention_dropout, self.training)
        mixed = torch.einsum("whqp,wphv->wqhv", weights_WHQP, v_WPHV).flatten(2)
        attended: Tensor = self.output(mixed)
        return attended

    def _relative_keys(self, features_RF: Tensor) -> Tensor:
        """Keys of distances (R, H, K) in the precision of the table; they depend on weights alone, so evaluation keeps
        them until a weight is written to.
        """
        weights = tuple(self.relative_key.parameters())
        keeps = not (self.training or torch.is_grad_enabled() or torch.compiler.is_compiling())
        keeps = keeps and not any(weight.is_inference() for weight in weights)
        state = (len(features_RF), *((weight, weight._version) for weight in weights)) if keeps else ()
        if keeps and self._kept_keys is not None and _same(self._kept_keys[0], state):
            return self._kept_keys[1]
        features = F.dropout(features_RF, self.config.position_dropout, self.training)
        device = features.device.type
        with nullcontext() if device == "meta" else torch.autocast(device, enabled=False):
            keys = F.linear(features, self.relative_key.weight.to(features.dtype))
        keys_RHK = keys.unflatten(1, (self.config.heads, -1))
        self._kept_keys = (state, keys_RHK) if keeps else None
        return keys_RHK

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RelativeAttention:
        self._kept_keys = None
        super()._apply(fn, recurse)
        return self


def _same(kept: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    """Equal lengths, and the very same weights at the same version."""
    return kept[0] == now[0] and all(a[0] is b[0] and a[1] == b[1] for a, b in zip(kept[1:], now[1:], strict=True))


def relative_shift(logits_WHQR: Tensor, length: int) -> Tensor:
    """Logits by relative distance (…, Q, Q + P − 1) → by key position (…, Q, P), without copying.

    Row i reads columns Q − 1 − i + j: in the flattened rows that is a step of one column less per row.
    """
    queries, distances = logits_WHQR.shape[-2:]
    flat = logits_WHQR.flatten(-2)[..., queries - 1 : queries - 1 + queries * (distances - 1)]
    return flat.unflatten(-1, (queries, distances - 1))[..., :length]


def _conv(channels: int, out_channels: int, kernel: int) -> nn.Conv1d:
    conv = nn.Conv1d(channels, out_channels, kernel, padding=kernel // 2)
    nn.init.normal_(conv.weight, std=1 / math.sqrt(channels * kernel))
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv
