"""Where the RNA encoder looks: its attention weights, computed anew from what goes into each layer.

The encoder keeps none of them: hooks that live as long as one call read each layer's input, so nothing is paid when
nobody asks. T tokens of one transcript (CLS first), L layers, H heads of K channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from model.batch import PackedBatch
from model.encoders.rotary_encoder import RotaryEncoder, RotaryLayer, rotary_table, rotate
from model.errors import InputError
from model.isoformer import IsoFormer, TokenInput


def rna_attention(model: IsoFormer, batch: PackedBatch) -> list[Tensor]:
    """Attention weights of each transcript's RNA: (L, H, T, T), query before key; T = 0 where it has no RNA.

    A full-size transcript takes 6.4 GB; `rna_attention_received` is the summary that does not.
    """
    return _maps(model, batch, lambda weights: weights)


def rna_attention_received(model: IsoFormer, batch: PackedBatch) -> list[Tensor]:
    """Attention that each RNA token receives, `rna_attention` averaged over queries: (L, H, T) per transcript."""
    return _maps(model, batch, lambda weights: weights.mean(dim=-2))


def _maps(model: IsoFormer, batch: PackedBatch, reduce: Callable[[Tensor], Tensor]) -> list[Tensor]:
    if "rna" not in model.encoders:
        raise InputError(
            where="attention of the RNA encoder",
            expected="a model that reads RNA",
            found=f"one that reads {', '.join(model.config.modalities)}",
            fix="Ask a model with an RNA encoder.",
        )
    encoder = model.encoders["rna"]
    assert isinstance(encoder, RotaryEncoder)
    device = encoder.embedding.weight.device
    rna = TokenInput.from_packed(batch.rna_tokens, batch.rna_offsets, device)
    # Where the tokens of each transcript lie among all, in their order.
    places = [
        own[rna.layout.position[own].argsort()]
        for own in (torch.nonzero(rna.layout.row == row)[:, 0] for row in range(batch.size))
    ]
    found: list[list[Tensor]] = [[] for _ in places]

    def read(layer: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        assert isinstance(layer, RotaryLayer)
        for own, maps in zip(places, found, strict=True):
            maps.append(reduce(_weights(layer, arguments[0][own], rna.layout.position[own])).cpu())

    hooks = [layer.register_forward_pre_hook(read) for layer in encoder.layers]
    training = encoder.training
    try:
        encoder.eval()
        with torch.inference_mode():
            encoder(rna.tokens, rna.layout)
    finally:
        encoder.train(training)
        for hook in hooks:
            hook.remove()
    return [torch.stack(maps) for maps in found]


def _weights(layer: RotaryLayer, x_TD: Tensor, position_T: Tensor) -> Tensor:
    """Softmax weights (H, T, T) of one layer over the tokens of one sequence."""
    width = x_TD.shape[-1] // layer.heads
    qkv_T3HK = layer.query_key_value(layer.attention_norm(x_TD)).view(-1, 3, layer.heads, width)
    rotated_T2HK = rotate(qkv_T3HK[:, :2], rotary_table(position_T, width, x_TD.dtype))
    q_HTK, k_HTK = rotated_T2HK.permute(1, 2, 0, 3)
    return ((q_HTK * width**-0.5) @ k_HTK.transpose(1, 2)).softmax(dim=-1)
