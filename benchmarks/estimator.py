"""Claim: what `isoformer estimate` says of a step is within 15 % of what this machine does.

    python -m benchmarks.estimator [--presets sanity tiny] [--micro-batches 16 64]

Activation memory against the storages that autograd keeps, operations against torch's counter, and seconds, scaled by
a probe of 16 transcripts, against real steps of larger batches.
"""

from __future__ import annotations

import argparse

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.side_by_side import set_up
from model.estimate import batch_flops
from model.hardware import measured_cpu
from model.isoformer import IsoFormer, TorchBatch
from model.planning import SequenceLengths, calibrated, sample_batch
from model.presets import preset
from model.probe import measured_step_seconds
from model.step_trace import SavedBytes, trace_step

LIMIT = 0.15


def main() -> None:
    """Print what was estimated, what was measured, and whether the claim holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["sanity", "tiny"])
    parser.add_argument("--micro-batches", nargs="+", type=int, default=[16, 64])
    arguments = parser.parse_args()
    set_up()
    lengths, cpu = SequenceLengths.typical(), measured_cpu()
    print(f"matrix products {cpu.peak_flops / 1e9:.0f} GFLOP/s, memory {cpu.bandwidth / 1e9:.0f} GB/s")
    worst = 0.0
    for name in arguments.presets:
        config = preset(name)
        device = calibrated(cpu, config, lengths)
        for micro_batch in arguments.micro_batches:
            batch = sample_batch(config, lengths, micro_batch, seed=1)
            trace = trace_step(config, batch)
            model = IsoFormer(config).train()
            saved, counter = SavedBytes(model), FlopCounterMode(display=False)
            with saved.hooks():
                model(TorchBatch.from_packed(batch))
            model.eval().requires_grad_(False)
            with sdpa_kernel(SDPBackend.MATH), counter:
                model(TorchBatch.from_packed(batch))
            pairs = {
                "activations, MB": (trace.activation_bytes / 1e6, saved.total / 1e6),
                "forward, GFLOP": (batch_flops(config, batch) / 1e9, counter.get_total_flops() / 1e9),
                "step, s": (
                    device.seconds(trace.forward) + device.seconds(trace.backward),
                    measured_step_seconds(config, batch),
                ),
            }
            for what, (estimated, measured) in pairs.items():
                error = estimated / measured - 1
                worst = max(worst, abs(error))
                figures = f"{estimated:10.4g} estimated {measured:10.4g} measured {error:+.1%}"
                print(f"{name:8} {micro_batch:4}  {what:16} {figures}")
    print(f"worst {worst:.1%}, limit {LIMIT:.0%}: {'holds' if worst <= LIMIT else 'DOES NOT HOLD'}")


if __name__ == "__main__":
    main()
