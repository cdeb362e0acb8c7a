"""Training a part of the weights: frozen encoders, gradual unfreezing, LoRA on attention projections.

D input channels, E output channels, G projections that share one weight (query, key and value), R rank.
Source of LoRA: Hu et al. 2022.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn
from torch.nn.utils import parametrize

from model.encoders.batch_norm import WindowBatchNorm
from model.encoders.enformer import Enformer, RelativeAttention
from model.encoders.rotary_encoder import RotaryEncoder, RotaryLayer
from model.errors import InputError
from model.isoformer import IsoFormer


class LowRank(nn.Module):
    """weight + alpha/R · up·down, for each of the G projections in a weight (G·E, D); starts as the weight itself.

    As a parametrisation of the weight, not a branch beside the layer: it holds whichever way the layer is computed,
    costs G·E·D·R products whatever the number of tokens, and what is folded is bit for bit what was trained.
    """

    def __init__(self, weight: Tensor, projections: int, rank: int, alpha: float) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.scale = alpha / rank
        self.down = nn.Parameter(weight.new_empty(projections, rank, columns))
        self.up = nn.Parameter(weight.new_zeros(projections, rows // projections, rank))
        nn.init.normal_(self.down, std=1 / math.sqrt(columns))

    def forward(self, weight: Tensor) -> Tensor:
        """(G·E, D) → (G·E, D)."""
        return weight + self.scale * (self.up @ self.down).flatten(0, 1)


def add_lora(model: IsoFormer, towers: Sequence[str], *, rank: int, alpha: float) -> None:
    """Freeze these encoders and give their attention projections trainable low-rank terms, in place.

    Load weights before: a checkpoint has the plain layout, to which `merge_lora` goes back.
    """
    encoders = [_encoder(model, tower) for tower in towers]
    projections = [item for encoder in encoders for item in _projections(encoder)]
    for linear, count in projections:
        most = min(linear.in_features, linear.out_features // count)
        if not 1 <= rank <= most or not alpha > 0:
            raise InputError(
                where="LoRA",
                expected=f"a rank from 1 to {most} and an alpha above 0",
                found=f"rank {rank}, alpha {alpha}",
                fix="Choose others.",
            )
        if parametrize.is_parametrized(linear):
            raise InputError(
                where="LoRA", expected="encoders without it", found="one that has it", fix="Name each encoder once."
            )
    freeze(model, towers)
    for linear, count in projections:
        parametrize.register_parametrization(linear, "weight", LowRank(linear.weight, count, rank, alpha))


def merge_lora(model: IsoFormer) -> None:
    """Fold the low-rank terms into the weights, in place: the same predictions, the plain layout.

    A model without them stays as it is.
    """
    for module in list(model.modules()):
        if isinstance(module, nn.Linear) and is_adapted(module):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def folded(model: IsoFormer, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state of `model`, whole tensors by name, in the plain layout: what `merge_lora` would leave."""
    plain = dict(tensors)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and parametrize.is_parametrized(module, "weight"):
            (terms,) = module.parametrizations["weight"]  # type: ignore[index]
            assert isinstance(terms, LowRank)
            prefix = f"{name}.parametrizations.weight"
            weight, up, down = (plain.pop(f"{prefix}.{part}") for part in ("original", "0.up", "0.down"))
            plain[f"{name}.weight"] = weight + terms.scale * (up @ down).flatten(0, 1)
    return plain


def is_adapted(module: nn.Module) -> bool:
    """Whether a module, or one below it, has low-rank terms that are not folded in."""
    return any(isinstance(child, LowRank) for child in module.modules())


def freeze(model: IsoFormer, towers: Sequence[str]) -> None:
    """Let nothing of these encoders change in training: no gradients, and running statistics stand still."""
    for tower in towers:
        _set_trainable(_encoder(model, tower), False)


def unfreeze_last_blocks(model: IsoFormer, tower: str, blocks: int) -> None:
    """Train the last `blocks` blocks of an encoder, and what follows them; what is frozen before them stays so.

    Blocks of a rotary encoder: its layers. Of the Enformer: transformer layers, then stages of the convolutional
    tower. One more than there are: the whole encoder, embedding or stem included.
    """
    encoder = _encoder(model, tower)
    inner, output = _blocks(encoder)
    if not 0 <= blocks <= len(inner) + 1:
        raise InputError(
            where=f"unfreezing of {tower}",
            expected=f"0 to {len(inner) + 1} blocks ({len(inner)} and the input layer)",
            found=str(blocks),
            fix="Choose another number.",
        )
    if blocks > len(inner):
        _set_trainable(encoder, True)
    elif blocks:
        for module in (*inner[-blocks:], output):
            _set_trainable(module, True)


def _encoder(model: IsoFormer, tower: str) -> nn.Module:
    if tower not in model.encoders:
        raise InputError(
            where=f"encoder {tower!r}",
            expected=f"one of {', '.join(model.encoders)}",
            found="none of that name",
            fix="Correct the name.",
        )
    return model.encoders[tower]


def _projections(encoder: nn.Module) -> Iterator[tuple[nn.Linear, int]]:
    """Attention projections, and how many of them share one weight."""
    for module in encoder.modules():
        if isinstance(module, RotaryLayer):
            yield from ((module.query_key_value, 3), (module.attention_output, 1))
        elif isinstance(module, RelativeAttention):
            yield from ((linear, 1) for linear in (module.query, module.key, module.value, module.output))


def _blocks(encoder: nn.Module) -> tuple[list[nn.Module], nn.Module]:
    """Blocks from input to output, and the layer that follows them."""
    if isinstance(encoder, Enformer):
        return [*encoder.tower, *encoder.transformer], encoder.final
    assert isinstance(encoder, RotaryEncoder)
    return list(encoder.layers), encoder.norm


def _set_trainable(module: nn.Module, trainable: bool) -> None:
    module.requires_grad_(trainable)
    for child in module.modules():
        if isinstance(child, WindowBatchNorm):
            # A frozen norm that read the batch would still move, and its tower with it.
            child.frozen = not trainable or child.frozen_by_config
