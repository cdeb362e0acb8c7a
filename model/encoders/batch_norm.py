"""Batch normalisation whose training statistics are those of the global batch, on any backend.

W windows, C channels, L positions.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

MOMENTUM = 0.1
EPSILON = 1e-5


class WindowBatchNorm(nn.Module):
    """Per-channel normalisation of (W, C, L).

    Frozen, or in evaluation: running statistics. Global: statistics over the windows of all ranks (torch's
    SyncBatchNorm refuses a CPU), running statistics updated with momentum 0.1.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, frozen: bool) -> None:
        super().__init__()
        self.frozen = frozen
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x_WCL: Tensor, gain: float = 1.0) -> Tensor:
        """Normalise, then multiply by `gain`, which costs nothing here."""
        weight, bias = (self.weight, self.bias) if gain == 1.0 else (self.weight * gain, self.bias * gain)
        if not self.training or self.frozen:
            return F.batch_norm(x_WCL, self.running_mean, self.running_var, weight, bias, False, 0.0, EPSILON)
        if dist.is_initialized() and dist.get_world_size() > 1:
            out, mean, unbiased = _GlobalNorm.apply(x_WCL, weight, bias)
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), MOMENTUM)
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), MOMENTUM)
            normalised: Tensor = out
            return normalised
        if not x_WCL.numel():
            return x_WCL
        return F.batch_norm(x_WCL, self.running_mean, self.running_var, weight, bias, True, MOMENTUM, EPSILON)


@functools.lru_cache(maxsize=1)
def _group_beside(world: Any) -> Any:
    """A process group of our own: sharing one with DDP, ranks could order their collectives differently."""
    return dist.new_group(backend=dist.get_backend(world))


def _sum_over_ranks(values: Tensor) -> Tensor:
    dist.all_reduce(values, group=_group_beside(dist.group.WORLD))
    return values


class _GlobalNorm(torch.autograd.Function):
    """Normalise with statistics of all ranks; sums travel in float64, one collective each way."""

    @staticmethod
    def forward(ctx: Any, x_WCL: Tensor, weight_C: Tensor, bias_C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        channels = x_WCL.shape[1]
        count = x_WCL.shape[0] * x_WCL.shape[2]
        totals = torch.zeros(2 * channels + 1, dtype=torch.float64, device=x_WCL.device)
        if count:
            variance, mean = torch.var_mean(x_WCL, dim=(0, 2), correction=0)
            mean, variance = mean.double(), variance.double()
            totals = torch.cat([mean * count, (variance + mean.square()) * count, totals.new_tensor([count])])
        totals = _sum_over_ranks(totals)
        total = totals[-1].clamp(min=1)
        mean = totals[:channels] / total
        variance = (totals[channels:-1] / total - mean.square()).clamp(min=0)
        inverse = (variance + EPSILON).rsqrt()
        mean_C, inverse_C = mean.to(x_WCL.dtype), inverse.to(x_WCL.dtype)
        ctx.save_for_backward(x_WCL, weight_C, mean_C, inverse_C, total)
        unbiased = variance * total / (total - 1).clamp(min=1)
        scale_C = weight_C * inverse_C
        out = torch.addcmul((bias_C - mean_C * scale_C)[None, :, None], x_WCL, scale_C[None, :, None])
        ctx.mark_non_differentiable(mean, unbiased)
        return out, mean, unbiased

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x_WCL, weight_C, mean_C, inverse_C, total = ctx.saved_tensors
        channels = x_WCL.shape[1]
        normalised = (x_WCL - mean_C[None, :, None]) * inverse_C[None, :, None]
        grad_bias = grad.sum(dim=(0, 2))
        grad_weight = (grad * normalised).sum(dim=(0, 2))
        sums = _sum_over_ranks(torch.cat([grad_bias, grad_weight]).double()) / total
        mean_grad, mean_product = sums.to(grad.dtype).split(channels)
        centred = grad - mean_grad[None, :, None] - normalised * mean_product[None, :, None]
        return centred * (weight_C * inverse_C)[None, :, None], grad_weight, grad_bias
