"""Batch normalisation whose training statistics are those of the global batch, on any backend.

W windows, L positions, C channels.
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
    """Per-channel normalisation of (W, L, C).

    Frozen, or in evaluation: running statistics. Global: statistics over the windows of all ranks (torch's
    SyncBatchNorm refuses a CPU), running statistics updated with momentum 0.1.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, frozen: bool) -> None:
        super().__init__()
        # `frozen` may be set for a while, where a tower is not trained; the configuration's choice stays known.
        self.frozen = self.frozen_by_config = frozen
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x_WLC: Tensor, share_W: Tensor | None, gain: float = 1.0) -> Tensor:
        """Normalise, then multiply by `gain`, which costs nothing here; `share_W` as `window_shares` gives it."""
        weight, bias = (self.weight, self.bias) if gain == 1.0 else (self.weight * gain, self.bias * gain)
        from_batch = self.training and not self.frozen
        if from_batch and share_W is not None:
            out, mean, unbiased = _GlobalNorm.apply(x_WLC, weight, bias, share_W)
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), MOMENTUM)
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), MOMENTUM)
            normalised: Tensor = out
            return normalised
        if from_batch and not x_WLC.numel():
            return x_WLC * weight + bias  # no statistics; the parameters stay in the graph
        flat = x_WLC.flatten(0, 1)
        flat = F.batch_norm(
            flat, self.running_mean, self.running_var, weight, bias, from_batch, MOMENTUM * from_batch, EPSILON
        )
        return flat.view(x_WLC.shape)


def window_shares(windows_WB: Tensor) -> Tensor | None:
    """What each window of this rank counts in global statistics, float64 (W,): 1/ranks that hold the same window.

    None outside distributed training, where every window of a batch is distinct.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    group = _group_beside(dist.group.WORLD)
    ranks = dist.get_world_size()
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, (windows_WB.shape[1],), generator=generator).to(windows_WB.device)
    # A 64-bit digest, in wrapping arithmetic; 0 is kept for the padding of the exchange.
    own = (windows_WB.long() * factors).sum(dim=1) | 1
    largest = torch.tensor([len(own)], device=own.device)
    dist.all_reduce(largest, dist.ReduceOp.MAX, group=group)
    padded = own.new_zeros(int(largest.item()))
    padded[: len(own)] = own
    gathered = [torch.empty_like(padded) for _ in range(ranks)]
    dist.all_gather(gathered, padded, group=group)
    holders = (torch.cat(gathered)[None, :] == own[:, None]).sum(dim=1)
    return 1 / holders.double()


@functools.lru_cache(maxsize=1)
def _group_beside(world: Any) -> Any:
    """A process group of our own: sharing one with DDP, ranks could order their collectives differently."""
    return dist.new_group(backend=dist.get_backend(world))


def _sum_over_ranks(values: Tensor) -> Tensor:
    dist.all_reduce(values, group=_group_beside(dist.group.WORLD))
    return values


def _moments(x_WLC: Tensor) -> Tensor:
    """Mean, mean square and 1 of each window, float64 (W, 2 C + 1)."""
    if not x_WLC.numel():  # a rank without windows
        return x_WLC.new_zeros(0, 2 * x_WLC.shape[2] + 1, dtype=torch.float64)
    variance_WC, mean_WC = (value.double() for value in torch.var_mean(x_WLC, dim=1, correction=0))
    return torch.cat([mean_WC, variance_WC + mean_WC.square(), torch.ones_like(mean_WC[:, :1])], dim=1)


class _GlobalNorm(torch.autograd.Function):
    """Normalise with statistics of all ranks, windows by their share; sums travel in float64."""

    @staticmethod
    def forward(
        ctx: Any, x_WLC: Tensor, weight_C: Tensor, bias_C: Tensor, share_W: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        length, channels = x_WLC.shape[1:]
        totals = _sum_over_ranks(share_W @ _moments(x_WLC)) * length
        total = totals[-1].clamp(min=1)
        mean = totals[:channels] / total
        variance = (totals[channels:-1] / total - mean.square()).clamp(min=0)
        inverse_C = (variance + EPSILON).rsqrt().to(x_WLC.dtype)
        mean_C = mean.to(x_WLC.dtype)
        ctx.save_for_backward(x_WLC, weight_C, mean_C, inverse_C, total, share_W.to(x_WLC.dtype))
        scale_C = weight_C * inverse_C
        out = torch.addcmul(bias_C - mean_C * scale_C, x_WLC, scale_C)
        unbiased = variance * total / (total - 1).clamp(min=1)
        ctx.mark_non_differentiable(mean, unbiased)
        return out, mean, unbiased

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x_WLC, weight_C, mean_C, inverse_C, total, share_W = ctx.saved_tensors
        normalised = (x_WLC - mean_C) * inverse_C
        grad_bias = grad.sum(dim=(0, 1))
        grad_weight = (grad * normalised).sum(dim=(0, 1))
        sums = _sum_over_ranks(torch.cat([grad_bias, grad_weight]).double()) / total
        mean_grad, mean_product = sums.to(grad.dtype).split(x_WLC.shape[2])
        common = mean_grad + normalised * mean_product
        grad_x = (grad - share_W[:, None, None] * common) * (weight_C * inverse_C)
        return grad_x, grad_weight, grad_bias, None
