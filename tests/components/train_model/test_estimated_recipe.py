"""What the estimator says of a recipe that freezes, adapts or recomputes, against the network that is then trained."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch.utils.flop_counter import FlopCounterMode

from components.params import load_params
from components.train_model.recompute import recompute_activations
from components.train_model.towers import prepare
from model.config import IsoFormerConfig
from model.isoformer import IsoFormer, TorchBatch
from model.planning import SequenceLengths, sample_batch, state_bytes
from model.presets import preset
from model.step_trace import SavedBytes, StepTrace, trace_step


def traced(config: IsoFormerConfig, *overrides: str) -> tuple[IsoFormer, TorchBatch, StepTrace]:
    """A network as the recipe trains it, a batch, and what is said of a step on it."""
    params = load_params(None, preset="sanity", overrides=overrides)
    batch = sample_batch(config, SequenceLengths.typical(), 8, seed=0)
    model = IsoFormer(config).train()
    prepare(model, params.train, params.runtime)
    trace = trace_step(config, batch, prepare=lambda made: prepare(made, params.train, params.runtime))
    return model, TorchBatch.from_packed(batch), trace


@pytest.mark.parametrize(
    "overrides",
    [
        ("train.towers.dna.trainable=none", "train.towers.rna.trainable=lora"),
        ("train.towers.dna.trainable=last_blocks", "train.towers.dna.last_blocks=1"),
    ],
)
def test_memory_of_frozen_and_adapted_towers_is_what_autograd_keeps(overrides: tuple[str, ...]) -> None:
    """Within 1 %; gradients and moments are those of the trained parameters alone."""
    model, batch, trace = traced(preset("tiny"), *overrides)
    saved = SavedBytes(model)
    with saved.hooks():
        model(batch)
    assert trace.activation_bytes == pytest.approx(saved.total, rel=0.01)
    assert trace.activation_bytes < 0.9 * traced(preset("tiny"))[2].activation_bytes
    assert trace.parameters == sum(p.numel() for p in model.parameters())
    assert trace.trained == sum(p.numel() for p in model.parameters() if p.requires_grad) < trace.parameters
    assert state_bytes(trace, "fp32") == {
        "weights": 4 * trace.parameters,
        "gradients": 4 * trace.trained,
        "optimizer": 8 * trace.trained,
    }


def test_what_is_computed_again_is_counted_and_what_is_not_kept_is_not() -> None:
    config = replace(preset("sanity"), rna=None, protein=None)
    model, batch, trace = traced(config, "runtime.recompute_activations=[dna]")
    recompute_activations(model, ["dna"])
    counter = FlopCounterMode(display=False)
    with counter:
        model(batch).square().mean().backward()
    # Checkpoints stop before a block's last product, whose result nobody needs: the estimate is a little above.
    assert counter.get_total_flops() <= trace.flops <= 1.05 * counter.get_total_flops()
    _, _, plain = traced(config)
    assert trace.flops > 1.2 * plain.flops
    assert trace.activation_bytes < 0.5 * plain.activation_bytes
    # One block's activations live while it is computed again.
    assert trace.workspace_bytes > plain.workspace_bytes
