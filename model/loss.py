"""The training loss: mean squared error on standardised log1p TPM, over the labels that were observed.

B transcripts, T tissues.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor


def squared_errors(predicted_BT: Tensor, label_BT: Tensor) -> Tensor:
    """Of each transcript, (B,): the sum over its observed labels, over T. NaN is a label that was not observed.

    Such a label adds nothing, and exactly nothing to any gradient. Their sum over `observed_transcripts` is the loss:
    sums and counts add up over micro-batches and ranks, so that each observed label weighs alike however a step is
    divided; a mean of means would not.
    """
    # Filled before it is squared: NaN times zero would still be NaN in the gradient.
    return (predicted_BT - label_BT).masked_fill(label_BT.isnan(), 0).square().mean(dim=1)


def observed_transcripts(label_BT: np.ndarray) -> float:
    """How many transcripts' worth of labels were observed: B where none is NaN, 1 where all are: a loss of zero."""
    return float(np.count_nonzero(~np.isnan(label_BT)) / label_BT.shape[1]) or 1.0
