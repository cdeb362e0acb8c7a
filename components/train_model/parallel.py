"""One process, a copy of the model per rank (DDP), or a slice of it (FSDP2): the same gradients each way."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.encoders.enformer import Enformer
from model.isoformer import IsoFormer


class Parallel:
    """How the ranks share the work of `model`; `network` is what to call.

    Gradients are averaged over ranks: a loss that each rank multiplies by `ranks` and divides by the global count
    gives the gradient of one process.
    """

    def __init__(self, model: IsoFormer, sharding: str, device: torch.device, *, whole: Iterable[str] = ()) -> None:
        """`whole` names towers that are not sharded: their forward pass does not run."""
        self.model, self.device = model, device
        self.rank, self.ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.sharded = sharding == "fsdp" and dist.is_initialized()
        if self.sharded:
            _shard(model, device, set(whole))
        self.rewrap()

    def rewrap(self) -> None:
        """Take notice of parameters that began to be trained."""
        self.network: nn.Module = self.model
        if self.ranks > 1 and not self.sharded:
            with warnings.catch_warnings():
                # Its new name, `forward_sync_buffers`, is not known to torch 2.10.
                warnings.simplefilter("ignore", FutureWarning)
                self.network = DistributedDataParallel(self.model, broadcast_buffers=False)

    def accumulate(self, *, last: bool) -> AbstractContextManager[Any]:
        """Within it gradients stay on the rank, until the last micro-batch of a step."""
        if self.sharded:
            self.model.set_requires_gradient_sync(last)  # type: ignore[operator]
        elif self.ranks > 1 and not last:
            assert isinstance(self.network, DistributedDataParallel)
            return self.network.no_sync()
        return nullcontext()

    def clip(self, parameters: list[nn.Parameter], norm: float) -> Tensor:
        """Scale gradients down to a global norm; returns what it was."""
        return whole_tensor(nn.utils.clip_grad_norm_(parameters, norm))

    def sum(self, values: Tensor) -> Tensor:
        """Sum over ranks."""
        if self.ranks > 1:
            place = self.device if self.device.type == "cuda" else torch.device("cpu")
            values = values.to(place)
            dist.all_reduce(values)
        return values

    def sum_number(self, value: float) -> float:
        """Sum of one number over ranks, in float64."""
        return value if self.ranks == 1 else float(self.sum(torch.tensor([value], dtype=torch.float64)).item())

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.ranks > 1:
            dist.barrier()

    def whole(self, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Copies of tensors in main memory, slices put together; every rank must ask, only rank 0 gets."""
        for name, value in tensors.items():
            full = whole_tensor(value.detach())
            if self.rank == 0:
                yield name, full.to("cpu", copy=True).contiguous()


def whole_tensor(value: Tensor) -> Tensor:
    """A tensor whose slices are put together (all ranks must call); any other as it is."""
    from torch.distributed.tensor import DTensor

    return value.full_tensor() if isinstance(value, DTensor) else value


def like(target: Tensor, full: Tensor) -> Tensor:
    """`full` on the device and with the slicing of `target`; nothing is communicated."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    full = full.to(target.device, target.dtype)
    if isinstance(target, DTensor):
        return distribute_tensor(full, target.device_mesh, target.placements, src_data_rank=None)
    return full


@torch.no_grad()
def load_state(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy whole tensors into a model's state, sliced as it is; both have the same names."""
    state = model.state_dict()
    if state.keys() != tensors.keys():
        raise ValueError(f"tensors that do not fit: {sorted(state.keys() ^ tensors.keys())}")
    for name, value in state.items():
        value.copy_(like(value, tensors[name]))


def blocks_of(encoder: nn.Module) -> list[nn.Module]:
    """The repeated blocks of an encoder, in order."""
    if isinstance(encoder, Enformer):
        return [*encoder.tower, *encoder.transformer]
    return list(encoder.layers)  # type: ignore[arg-type]


def compile_blocks(model: IsoFormer) -> None:
    """torch.compile of the repeated blocks of an Enformer, whose shapes differ in the number of windows alone.

    Token towers are packed: their shapes differ from batch to batch in ways that would be compiled again each time.
    """
    for encoder in model.encoders.values():
        if isinstance(encoder, Enformer):
            for block in blocks_of(encoder):
                block.compile(dynamic=True)


def _shard(model: IsoFormer, device: torch.device, whole: set[str]) -> None:
    """Each block, each encoder, the fusion and the rest gather their weights when they run."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    ignored = {parameter for name in whole for parameter in model.encoders[name].parameters()}
    for name, encoder in model.encoders.items():
        if name not in whole:
            for block in blocks_of(encoder):
                fully_shard(block, mesh=mesh)
            fully_shard(encoder, mesh=mesh)
    fully_shard(model.fusion, mesh=mesh)
    fully_shard(model, mesh=mesh, ignored_params=ignored)
