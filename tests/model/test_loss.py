"""The loss weighs each observed label alike, however a step is divided."""

from __future__ import annotations

import torch
from torch import Tensor

from model.loss import observed_transcripts, squared_errors


def random_batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randn(12, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    label = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    label[torch.rand(12, 5, generator=generator) < 0.4] = torch.nan
    return predicted, label


def loss_of(predicted: Tensor, label: Tensor) -> Tensor:
    return squared_errors(predicted, label).sum() / observed_transcripts(label.numpy())


def test_without_gaps_it_is_torchs_mean_squared_error() -> None:
    """Value and gradient, to the last bits."""
    predicted, label = random_batch()
    label = label.nan_to_num(0.5)
    (ours,) = torch.autograd.grad(loss_of(predicted, label), predicted)
    (theirs,) = torch.autograd.grad(torch.nn.functional.mse_loss(predicted, label), predicted)
    torch.testing.assert_close(ours, theirs, atol=0, rtol=1e-14)


def test_unobserved_labels_have_no_weight_at_all() -> None:
    """The loss is that of the observed entries alone; others get a gradient of exactly zero, and no NaN."""
    predicted, label = random_batch()
    loss = loss_of(predicted, label)
    seen = ~label.isnan()
    torch.testing.assert_close(loss, torch.nn.functional.mse_loss(predicted[seen], label[seen]))
    (gradient,) = torch.autograd.grad(loss, predicted)
    assert gradient.isfinite().all()
    assert (gradient[~seen] == 0).all()
    assert (gradient[seen] != 0).all()


def test_parts_add_up_to_the_whole() -> None:
    """Sums of unequal parts over the count of all give loss and gradient of the whole; a mean of means would not."""
    predicted, label = random_batch()
    label[:3] = torch.nan  # a part in which nothing was observed
    whole = loss_of(predicted, label)
    parts = [slice(0, 3), slice(3, 4), slice(4, 12)]
    sums = torch.stack([squared_errors(predicted[part], label[part]).sum() for part in parts])
    divided = sums.sum() / observed_transcripts(label.numpy())
    torch.testing.assert_close(divided, whole, rtol=1e-14, atol=0)
    gradients = [torch.autograd.grad(loss, predicted, retain_graph=True)[0] for loss in (divided, whole)]
    torch.testing.assert_close(*gradients, rtol=1e-13, atol=0)
    means = torch.stack([loss_of(predicted[part], label[part]) for part in parts[1:]]).mean()
    assert abs(means - whole) > 1e-3


def test_an_infinite_label_stays_visible() -> None:
    predicted, label = random_batch()
    assert loss_of(predicted, torch.full_like(label, torch.inf)) == torch.inf


def test_a_step_without_labels_costs_nothing() -> None:
    """Zero, with zero gradient."""
    predicted, label = random_batch()
    loss = loss_of(predicted, torch.full_like(label, torch.nan))
    loss.backward()
    assert loss == 0
    assert predicted.grad is not None
    assert (predicted.grad == 0).all()
