"""What rounding may cost: fp32 whatever the packing, bf16 within a bound per tower."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from model.batch import TranscriptInput, collate
from model.config import IsoFormerConfig
from model.export import PaddedIsoFormer
from model.isoformer import IsoFormer, TorchBatch
from model.onnx_backend import padded_inputs
from model.presets import preset

if TYPE_CHECKING:
    from tests.model.conftest import MakeTranscripts

FP32 = 1e-5
FUSIONS = ("cross_attention", "perceiver_resampler", "resampler_linear", "c_abstractor", "concatenation")
# Largest root-mean-square error of a tower's states against fp32, as a share of the states' own root mean square:
# bf16 rounds each number by at most 2^-9 = 0.2 %, and roundings add up over layers.
BF16_BOUNDS = {"dna": 0.03, "rna": 0.02, "protein": 0.02, "prediction": 0.05}


def predict(model: IsoFormer, items: list[TranscriptInput]) -> np.ndarray:
    with torch.no_grad():
        return model(TorchBatch.from_packed(collate(items, model.config))).numpy()


@pytest.mark.parametrize("kind", FUSIONS)
@pytest.mark.parametrize("kept", [("dna", "rna", "protein"), ("rna", "protein"), ("dna", "protein"), ("rna",)])
def test_fp32_packing_padding_and_order_change_nothing(
    small_config: IsoFormerConfig, make_transcripts: MakeTranscripts, kind: str, kept: tuple[str, ...]
) -> None:
    """Each aggregation and subset of modalities: alone, in another order, and padded, to 1e-5 of the largest output."""
    absent = {name: None for name in ("dna", "rna", "protein") if name not in kept}
    config = replace(small_config, fusion=replace(small_config.fusion, kind=kind), **absent)  # type: ignore[arg-type]
    items = [item for item in make_transcripts(config, 14) if any(getattr(item, name) is not None for name in kept)]
    torch.manual_seed(0)
    model = IsoFormer(config).eval()
    together = predict(model, items)
    scale = np.abs(together).max()
    order = np.random.default_rng(0).permutation(len(items))
    alone = np.concatenate([predict(model, [item]) for item in items])
    np.testing.assert_allclose(alone / scale, together / scale, atol=FP32)
    np.testing.assert_allclose(predict(model, [items[i] for i in order]) / scale, together[order] / scale, atol=FP32)
    wrapper = PaddedIsoFormer(model)
    padded = padded_inputs(collate(items, config), config)
    with torch.no_grad():
        found = wrapper(*(torch.from_numpy(padded[name]) for name in wrapper.names))
    expected = model.to_log1p(torch.from_numpy(together))
    torch.testing.assert_close(found / scale, expected / scale, atol=FP32, rtol=FP32)


@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_bf16_stays_within_a_bound_per_tower(how: str, make_transcripts: MakeTranscripts) -> None:
    """The tiny preset with bf16 weights, and with fp32 weights under autocast, against fp32."""
    config = preset("tiny")
    items = make_transcripts(config, 8, complete=True)
    torch.manual_seed(0)
    model = IsoFormer(config).eval()
    batch = TorchBatch.from_packed(collate(items, config))
    with torch.no_grad():
        exact = {name: model._encode(name, batch).states for name in config.modalities}
        exact["prediction"] = model(batch)
        if how == "weights":
            model = model.to(torch.bfloat16)
        with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
            rounded = {name: model._encode(name, batch).states for name in config.modalities}
            rounded["prediction"] = model(batch)
    for name, value in exact.items():
        error = (rounded[name].float() - value).square().mean().sqrt() / value.square().mean().sqrt()
        assert 0 < error < BF16_BOUNDS[name], f"{name}: {error:.4f}"


@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_bf16_gradients_are_finite(how: str, small_config: IsoFormerConfig, make_transcripts: MakeTranscripts) -> None:
    """A training step in bf16 reaches every tower with finite gradients, absent modalities included."""
    torch.manual_seed(0)
    model = IsoFormer(small_config).train()
    batch = TorchBatch.from_packed(collate(make_transcripts(small_config, 12), small_config))
    if how == "weights":
        model = model.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        loss = model(batch).float().square().mean()
    loss.backward()
    for name in small_config.modalities:
        gradients = [p.grad for p in model.encoders[name].parameters() if p.grad is not None]
        assert all(grad.isfinite().all() for grad in gradients)
        assert max(float(grad.abs().max()) for grad in gradients) > 0
