"""What training a configuration will take, before anything runs: memory, time, money; every assumption by name."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from model.batch import PackedBatch, TokenizedTranscript, pack
from model.config import IsoFormerConfig
from model.errors import InputError
from model.estimate import ForwardFlops, Workload, forward_flops
from model.hardware import Machine
from model.step_trace import Prepare, StepTrace, trace_step
from model.tokenizers import DNA_CODE_N, ESM_CLS, SIXMER_CLS

# Quantiles 0, 0.1 … 1 of coding transcripts of GENCODE and RefSeq, and transcripts per distinct TSS of those.
RNA_QUANTILES_NT = (138, 549, 623, 819, 1014, 1310, 1671, 2137, 2745, 4177, 11_656)
PROTEIN_QUANTILES = (7, 78, 120, 150, 184, 218, 288, 369, 478, 757, 2_595)
TRANSCRIPTS_PER_TSS = 1.18
# Weights, their gradients and Adam's two moments, in fp32; with bf16 a copy of the weights in two bytes comes on top.
BYTES_PER_PARAMETER = {"weights": 4, "gradients": 4, "optimizer": 8}
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True, eq=False)
class SequenceLengths:
    """RNA nucleotides and protein residues (0 = none) of N transcripts, int64 (N,), and transcripts per DNA window."""

    rna_nt: np.ndarray
    residues: np.ndarray
    transcripts_per_window: float = TRANSCRIPTS_PER_TSS

    @classmethod
    def typical(cls, count: int = 1000) -> SequenceLengths:
        """Evenly spread over the quantiles of coding transcripts; long RNAs hold long proteins."""
        at, ranks = (np.arange(count) + 0.5) / count, np.linspace(0, 1, len(RNA_QUANTILES_NT))
        rna, protein = (np.exp(np.interp(at, ranks, np.log(q))) for q in (RNA_QUANTILES_NT, PROTEIN_QUANTILES))
        return cls(rna_nt=rna.astype(np.int64), residues=protein.astype(np.int64))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a micro-batch of a training step takes on one device, and one epoch of them.

    `activation_bytes` is the mean over sampled micro-batches, `peak_bytes` with the largest of them.
    """

    machine: Machine
    precision: str
    micro_batch: int
    parameters: int
    trained: int
    state_bytes: dict[str, int]
    activation_bytes: float
    peak_bytes: float
    forward: ForwardFlops
    step_flops: float
    step_seconds: float
    transcripts: int

    @property
    def epoch_hours(self) -> float:
        """One pass over all transcripts on one device, input and communication hidden."""
        return self.transcripts / self.micro_batch * self.step_seconds / 3600

    @property
    def epoch_usd(self) -> float:
        """At the machine's assumed price."""
        return self.epoch_hours * self.machine.usd_per_hour

    @property
    def fits(self) -> bool:
        """The step fits the device's memory."""
        return self.peak_bytes <= self.machine.memory_bytes


def plan_training(
    config: IsoFormerConfig,
    machine: Machine,
    lengths: SequenceLengths,
    *,
    micro_batch: int,
    transcripts: int,
    precision: str = "bf16",
    samples: int = 3,
    batch_transcripts: int | None = None,
    prepare: Prepare | None = None,
) -> Plan:
    """Trace `samples` random micro-batches without running them; seconds for the published size.

    An optimizer step is `batch_transcripts` in as many micro-batches as that takes, or one micro-batch. `prepare`
    freezes or adapts the network as a recipe does; else everything is trained.
    """
    if micro_batch < 1 or transcripts < 1:
        raise InputError(
            where="--micro-batch, --count",
            expected="at least 1",
            found=f"{micro_batch}, {transcripts}",
            fix="Raise it.",
        )
    batches = [sample_batch(config, lengths, micro_batch, seed) for seed in range(samples)]
    traces = [trace_step(config, batch, dtype=PRECISIONS[precision], prepare=prepare) for batch in batches]
    state = state_bytes(traces[0], precision)
    steps = min(1.0, micro_batch / (batch_transcripts or micro_batch))
    forward = [forward_flops(config, Workload.of(batch, config)) for batch in batches]
    return Plan(
        machine=machine,
        precision=precision,
        micro_batch=micro_batch,
        parameters=traces[0].parameters,
        trained=traces[0].trained,
        state_bytes=state,
        activation_bytes=float(np.mean([trace.activation_bytes for trace in traces])),
        peak_bytes=sum(state.values()) + max(trace.activation_bytes + trace.workspace_bytes for trace in traces),
        forward=ForwardFlops(
            **{part: float(np.mean([getattr(item, part) for item in forward])) for part in forward[0].__dict__}
        ),
        step_flops=float(np.mean([trace.flops for trace in traces])),
        step_seconds=float(np.mean([step_seconds(machine, trace, steps) for trace in traces])),
        transcripts=transcripts,
    )


def state_bytes(trace: StepTrace, precision: str) -> dict[str, int]:
    """What a device holds through all steps: fp32 weights; gradients and Adam's moments of those that are trained."""
    sizes = {
        name: size * (trace.parameters if name == "weights" else trace.trained)
        for name, size in BYTES_PER_PARAMETER.items()
    }
    return sizes | ({"bf16 copy of weights": 2 * trace.parameters} if precision == "bf16" else {})


def step_seconds(machine: Machine, trace: StepTrace, steps: float = 1.0) -> float:
    """Forward, backward, and `steps` of Adam's passes over the state: all but gradients is read and written."""
    adam = steps * 28 * trace.trained / machine.bandwidth
    return machine.seconds(trace.forward) + machine.seconds(trace.backward) + adam


def largest_micro_batch(
    plan: Plan, config: IsoFormerConfig, lengths: SequenceLengths, limit: int = 256, prepare: Prepare | None = None
) -> int:
    """The largest power of two that fits the device, 0 if not even one transcript does."""
    size = 1
    while size <= limit:
        batch = sample_batch(config, lengths, size, seed=0)
        trace = trace_step(config, batch, dtype=PRECISIONS[plan.precision], prepare=prepare)
        if sum(plan.state_bytes.values()) + trace.activation_bytes + trace.workspace_bytes > plan.machine.memory_bytes:
            break
        size *= 2
    return size // 2


def calibrated(
    machine: Machine, config: IsoFormerConfig, lengths: SequenceLengths, *, transcripts: int = 16
) -> Machine:
    """`machine` slowed to what a real step of a few transcripts takes here: caches have no data sheet."""
    from model.probe import measured_step_seconds

    batch = sample_batch(config, lengths, transcripts, seed=0)
    trace = trace_step(config, batch)
    factor = measured_step_seconds(config, batch) / (machine.seconds(trace.forward) + machine.seconds(trace.backward))
    return replace(
        machine,
        peak_flops=machine.peak_flops / factor,
        bandwidth=machine.bandwidth / factor,
        exponential_bandwidth=machine.exponential_bandwidth / factor,
        launch_seconds=machine.launch_seconds * factor,
    )


def sample_batch(config: IsoFormerConfig, lengths: SequenceLengths, micro_batch: int, seed: int) -> PackedBatch:
    """A micro-batch of random transcripts of these lengths; what the letters are costs nothing."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(lengths.rna_nt), micro_batch)
    windows = max(1, round(micro_batch / lengths.transcripts_per_window))
    items = []
    for number, row in enumerate(chosen):
        dna = np.full(config.window_bp, DNA_CODE_N, dtype=np.uint8)
        index = number % windows
        # Written in base 4 at the window's start, so that windows differ.
        dna[:12] = (index >> np.arange(0, 24, 2)) & 3
        items.append(
            TokenizedTranscript(
                dna=dna if config.dna is not None else None,
                rna=_tokens(1 + _six_mers(int(lengths.rna_nt[row])), config.rna, SIXMER_CLS),
                protein=_tokens(2 + int(lengths.residues[row]), config.protein, ESM_CLS)
                if lengths.residues[row]
                else None,
            )
        )
    return pack(items, config)


def _six_mers(nucleotides: int) -> int:
    return nucleotides // 6 + nucleotides % 6


def _tokens(count: int, encoder: object, token: int) -> np.ndarray | None:
    limit = getattr(encoder, "max_tokens", 0)
    return np.full(min(count, limit), token, dtype=np.int32) if limit else None
