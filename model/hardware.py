"""Machines that a step can be priced on: what data sheets say of GPUs, and what is measured of this CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from model.errors import InputError
from model.step_trace import Operation

GIGA, TERA = 1e9, 1e12
# Operations whose work is per element and not in matrix products: exponentials cost a CPU more than reading does.
EXPONENTIALS = ("softmax", "silu", "gelu", "sigmoid", "erf", "exp", "cos", "sin", "native_dropout", "bernoulli")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the time of a step depends on.

    `peak_flops`: dense matrix products per second in the precision that is used; `efficiency` the share of it that
    large products reach. `bandwidth`: bytes per second of memory; `exponential_bandwidth` likewise for operations that
    compute exponentials. `launch_seconds`: least time of an operation. `usd_per_hour` is the user's assumption.
    """

    name: str
    peak_flops: float
    efficiency: float
    bandwidth: float
    exponential_bandwidth: float
    launch_seconds: float
    memory_bytes: float
    usd_per_hour: float

    def seconds(self, operations: Iterable[Operation]) -> float:
        """Time of operations one after the other, each bound by arithmetic, by memory, or by its launch."""
        return sum(self._seconds(item) for item in operations)

    def _seconds(self, item: Operation) -> float:
        slow = any(word in item.name for word in EXPONENTIALS) and not item.flops
        moving = item.bytes_moved / (self.exponential_bandwidth if slow else self.bandwidth)
        return max(item.flops / (self.peak_flops * self.efficiency), moving, self.launch_seconds)


def _gpu(name: str, peak_tflops: float, bandwidth_gb: float, memory_gib: float, usd_per_hour: float) -> Machine:
    return Machine(
        name=name,
        peak_flops=peak_tflops * TERA,
        efficiency=0.6,
        bandwidth=bandwidth_gb * GIGA * 0.8,
        exponential_bandwidth=bandwidth_gb * GIGA * 0.8,
        launch_seconds=5e-6,
        memory_bytes=memory_gib * 2**30,
        usd_per_hour=usd_per_hour,
    )


# Dense bf16 peak, bandwidth and memory as the vendor's data sheets state them (SXM boards, no sparsity). Prices are
# round placeholders, to be replaced by --usd-per-hour. That 60 % of the peak is reached was not verified on a GPU.
GPUS = {
    item.name: item
    for item in (
        _gpu("h200", 989, 4800, 131, 4.0),
        _gpu("h100", 989, 3350, 74, 3.0),
        _gpu("a100", 312, 2039, 74, 2.0),
        _gpu("l40s", 362, 864, 42, 1.5),
        _gpu("l4", 121, 300, 21, 0.8),
    )
}
THIS_CPU = "cpu"


def machine(name: str) -> Machine:
    """A GPU of the table, or `cpu`: this machine, measured in about a second."""
    if name == THIS_CPU:
        return measured_cpu()
    if name not in GPUS:
        raise InputError(
            where="--gpu",
            expected=f"one of {', '.join((*GPUS, THIS_CPU))}",
            found=repr(name),
            fix="Choose the nearest, and override what differs.",
        )
    return GPUS[name]


def measured_cpu() -> Machine:
    """This CPU with torch's current thread count: best of a few runs of a product, a sum, a GELU and a tiny sum."""
    import os

    import torch

    side, long = 1024, 2_000_000
    a, b = torch.rand(side, side), torch.rand(side, side)
    x, y, one = torch.rand(long), torch.rand(long), torch.rand(8, requires_grad=True)
    moved = 4 * long
    return Machine(
        name=THIS_CPU,
        peak_flops=2 * side**3 / _best(lambda: a @ b),
        efficiency=1.0,
        bandwidth=3 * moved / _best(lambda: x + y),
        exponential_bandwidth=2 * moved / _best(lambda: torch.nn.functional.gelu(x)),
        launch_seconds=_best(lambda: [one + 1 for _ in range(100)]) / 100,
        memory_bytes=float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        usd_per_hour=0.0,
    )


def _best(run: Callable[[], object], repeats: int = 8) -> float:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
