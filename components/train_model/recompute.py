"""Gradient checkpointing: blocks that keep their input alone, and compute the rest again in the backward pass."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import nn
from torch.utils.checkpoint import checkpoint

from components.train_model.parallel import blocks_of
from model.encoders.batch_norm import WindowBatchNorm
from model.encoders.enformer import Enformer
from model.isoformer import IsoFormer


def recompute_activations(model: IsoFormer, towers: Iterable[str]) -> None:
    """Let the blocks of the named towers keep no activations; gradients and names of parameters stay the same."""
    for block in recomputed_blocks(model, towers):
        _wrap(block)


def recomputed_blocks(model: IsoFormer, towers: Iterable[str]) -> Iterator[nn.Module]:
    """The blocks of those towers that keep their input alone."""
    for name in towers:
        if name in model.encoders:
            encoder = model.encoders[name]
            # The stem holds more activations than any stage of the tower.
            if isinstance(encoder, Enformer):
                yield from (encoder.stem_residual, encoder.stem_pool)
            yield from blocks_of(encoder)


def _wrap(block: nn.Module) -> None:
    norms = [module for module in block.modules() if isinstance(module, WindowBatchNorm) and not module.frozen]

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_kept(norms)

    # The instance's own forward, so that the module keeps its class, hooks and parameter names.
    again = functools.partial(checkpoint, block.forward, use_reentrant=False, context_fn=contexts)
    block.forward = again


@contextmanager
def _statistics_kept(norms: list[WindowBatchNorm]) -> Iterator[None]:
    """The second forward pass of a step must not move running statistics again."""
    kept = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]
    try:
        yield
    finally:
        for norm, (mean, variance) in zip(norms, kept, strict=True):
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
