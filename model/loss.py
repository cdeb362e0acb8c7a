"""The training loss: mean squared error on standardised log1p TPM, over the labels that were observed.

B transcripts, T tissues.
"""

from __future__ import annotations

from torch import Tensor


def squared_error(predicted_BT: Tensor, label_BT: Tensor, tissues_T: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sum of squared errors over observed labels, and how many there are (both scalars, the count in float64).

    A label is observed unless it is NaN; `tissues_T`, bool (T,), leaves out whole tissues. Unobserved labels add
    nothing to the loss, and exactly nothing to any gradient. Two scalars instead of a mean: sums and counts add up over
    microbatches and ranks, so that sum/count of the global batch weighs each observed label alike however the batch is
    divided; a mean of means would not.
    """
    observed_BT = ~label_BT.isnan()
    if tissues_T is not None:
        observed_BT = observed_BT & tissues_T
    # Filled before subtracting: NaN times zero would still be NaN in the gradient.
    error_BT = (predicted_BT - label_BT.masked_fill(~observed_BT, 0)).masked_fill(~observed_BT, 0)
    return error_BT.square().sum(), observed_BT.sum().double()


def masked_mse(predicted_BT: Tensor, label_BT: Tensor, tissues_T: Tensor | None = None) -> Tensor:
    """Mean squared error over observed labels (see `squared_error`); zero, with zero gradient, where none is."""
    total, count = squared_error(predicted_BT, label_BT, tissues_T)
    return total / count.clamp(min=1).to(total.dtype)
