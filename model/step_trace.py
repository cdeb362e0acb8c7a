"""What one training step does, found by running the network on tensors without storage (torch's meta device).

Nothing is computed and no memory is taken, yet every operation, its operands and what autograd keeps are those of the
real step: the figures follow the code by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from model.batch import PackedBatch
from model.config import IsoFormerConfig
from model.isoformer import IsoFormer, TorchBatch

# What a recipe does to a new network; returns the blocks whose activations are computed again.
Prepare = Callable[[IsoFormer], Iterable[nn.Module]]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One kernel: its name, floating-point operations of matrix products, bytes read and written."""

    name: str
    flops: float
    bytes_moved: float


@dataclass(frozen=True, kw_only=True)
class StepTrace:
    """One training step of `transcripts` transcripts, which trains `trained` of the parameters.

    `activation_bytes`: what autograd keeps between forward and backward, parameters excluded. `workspace_bytes`: the
    operands of the largest single operation, which live beside what is kept, and what the largest block keeps while it
    is computed again.
    """

    parameters: int
    trained: int
    transcripts: int
    activation_bytes: int
    workspace_bytes: int
    forward: tuple[Operation, ...]
    backward: tuple[Operation, ...]

    @property
    def flops(self) -> float:
        """Of the whole step."""
        return sum(item.flops for item in (*self.forward, *self.backward))


class SavedBytes:
    """Counts distinct storages that autograd keeps while its hooks are active; parameters are not counted."""

    def __init__(self, model: nn.Module) -> None:
        self._known = {_storage(tensor) for tensor in (*model.parameters(), *model.buffers())}
        self._kept: dict[int, Tensor] = {}

    def hooks(self) -> torch.autograd.graph.saved_tensors_hooks:
        """A context within which a forward pass is counted."""
        return torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    @property
    def total(self) -> int:
        """Bytes kept so far."""
        return sum(tensor.untyped_storage().nbytes() for tensor in self._kept.values())

    def set_aside(self) -> dict[int, Tensor]:
        """Count anew; returns what to give to `take_back`."""
        outer, self._kept = self._kept, {}
        return outer

    def take_back(self, outer: dict[int, Tensor], inputs: Iterable[Tensor]) -> int:
        """Forget what was kept since `set_aside` but for `inputs`; returns its bytes."""
        inner, self._kept = self.total, outer
        if inner:
            for tensor in inputs:
                self._pack(tensor)
        return inner

    def _pack(self, tensor: Tensor) -> Tensor:
        key = _storage(tensor)
        if key not in self._known:
            # Holding the tensor keeps its storage's address from being used again.
            self._kept.setdefault(key, tensor.detach())
        return tensor


def trace_step(
    config: IsoFormerConfig, batch: PackedBatch, *, dtype: torch.dtype = torch.float32, prepare: Prepare | None = None
) -> StepTrace:
    """Trace a training step over `batch` in `dtype`; takes seconds for the published size, on any machine.

    `prepare` freezes or adapts the new network, which otherwise is trained whole.
    """
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        model = IsoFormer(config).train()
        blocks = [] if prepare is None else list(prepare(model))
        model.to(dtype)
    saved, forward, backward = SavedBytes(model), _Recorder(), _Recorder()
    again = _ComputedAgain(blocks, saved, forward)
    inputs = TorchBatch.from_packed(batch, "meta")
    with saved.hooks(), _FusedAttention(), forward:
        loss = model(inputs).float().square().mean()
    with backward:
        loss.backward()
    largest = max(item.bytes_moved for item in (*forward.operations, *backward.operations))
    return StepTrace(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        trained=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        transcripts=batch.size,
        activation_bytes=saved.total,
        workspace_bytes=int(largest) + again.largest_bytes,
        forward=tuple(forward.operations),
        backward=(*again.operations, *backward.operations),
    )


class _ComputedAgain:
    """Watches blocks that keep their inputs alone and run once more in the backward pass.

    They run plainly here, and what they keep is taken out of the count: checkpoints would hide it from the hooks.
    """

    def __init__(self, blocks: Iterable[nn.Module], saved: SavedBytes, recorder: _Recorder) -> None:
        self.operations: list[Operation] = []
        self.largest_bytes = 0
        self._saved, self._recorder = saved, recorder
        self._begun, self._outer = 0, dict[int, Tensor]()
        for block in blocks:
            block.register_forward_pre_hook(self._begin)
            block.register_forward_hook(self._end)

    def _begin(self, *_: Any) -> None:
        self._begun, self._outer = len(self._recorder.operations), self._saved.set_aside()

    def _end(self, block: nn.Module, inputs: tuple[Any, ...], _: Any) -> None:
        kept = self._saved.take_back(self._outer, (item for item in inputs if isinstance(item, Tensor)))
        self.largest_bytes = max(self.largest_bytes, kept)
        if kept:
            self.operations += self._recorder.operations[self._begun :]


class _Recorder(TorchDispatchMode):
    """Notes every operation that is not a view."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        storages = {_storage(tensor) for tensor in given}
        in_place = func._schema.name.endswith("_")
        if made and (in_place or any(_storage(tensor) not in storages for tensor in made)):
            moved = sum(_bytes(tensor) for tensor in (*given, *made))
            self.operations.append(
                Operation(
                    name=func._overloadpacket.__name__, flops=_flops(func, args, kwargs or {}, out), bytes_moved=moved
                )
            )
        return out


class _FusedAttention(TorchFunctionMode):
    """Attention as one kernel, as on a CPU or GPU; without storage torch would take it apart."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        mask = kwargs.get("attn_mask")
        bias = None if mask is None else torch.zeros_like(mask, dtype=args[0].dtype)
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return fused(*args[:3], 0.0, False, attn_mask=bias)[0]


def _flops(func: Any, args: Any, kwargs: Any, out: Any) -> float:
    packet = func._overloadpacket
    if packet in flop_registry:
        formula: Callable[..., float] = flop_registry[packet]
        return float(formula(*args, **kwargs, out_val=out))
    # The CPU's fused attention, which torch's own counter leaves out.
    if packet is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:
        return float(sdpa_flop_count(*(tensor.shape for tensor in args[:3])))
    if packet is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward:
        return float(sdpa_backward_flop_count(*(tensor.shape for tensor in args[:4])))
    return 0.0


def _bytes(tensor: Tensor) -> int:
    # What is expanded is read once.
    shape = [size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride or size == 0]
    elements = 1
    for size in shape:
        elements *= size
    return elements * tensor.element_size()


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
