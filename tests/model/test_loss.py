"""The loss weighs each observed label alike, however the batch is divided."""

from __future__ import annotations

import pytest
import torch

from model.loss import masked_mse, squared_error


def random_batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    predicted = torch.randn(12, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    label = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    label[torch.rand(12, 5, generator=generator) < 0.4] = torch.nan
    return predicted, label


def test_without_gaps_it_is_torchs_mean_squared_error() -> None:
    """Value and gradient, to the last bits."""
    predicted, _ = random_batch()
    label = torch.randn(12, 5, dtype=torch.float64)
    (ours,) = torch.autograd.grad(masked_mse(predicted, label), predicted)
    (theirs,) = torch.autograd.grad(torch.nn.functional.mse_loss(predicted, label), predicted)
    torch.testing.assert_close(ours, theirs, atol=0, rtol=1e-14)


def test_unobserved_labels_have_no_weight_at_all() -> None:
    """The loss is that of the observed entries alone; others get a gradient of exactly zero, and no NaN."""
    predicted, label = random_batch()
    loss = masked_mse(predicted, label)
    seen = ~label.isnan()
    torch.testing.assert_close(loss, torch.nn.functional.mse_loss(predicted[seen], label[seen]))
    (gradient,) = torch.autograd.grad(loss, predicted)
    assert gradient.isfinite().all()
    assert (gradient[~seen] == 0).all()
    assert (gradient[seen] != 0).all()


def test_tissues_may_be_left_out() -> None:
    """A masked tissue is as if it were not predicted."""
    predicted, label = random_batch()
    tissues = torch.tensor([True, False, True, True, False])
    torch.testing.assert_close(
        masked_mse(predicted, label, tissues), masked_mse(predicted[:, tissues], label[:, tissues])
    )


def test_parts_add_up_to_the_whole() -> None:
    """Sums and counts of unequal parts give loss and gradient of the whole batch; a mean of means would not."""
    predicted, label = random_batch()
    label[:3] = torch.nan  # a part in which nothing was observed
    whole = masked_mse(predicted, label)
    parts = [slice(0, 3), slice(3, 4), slice(4, 12)]
    totals = [squared_error(predicted[part], label[part]) for part in parts]
    count = sum(count for _, count in totals)
    divided = sum(total for total, _ in totals) / count
    torch.testing.assert_close(divided, whole, rtol=1e-14, atol=0)
    gradients = [torch.autograd.grad(loss, predicted, retain_graph=True)[0] for loss in (divided, whole)]
    torch.testing.assert_close(*gradients, rtol=1e-13, atol=0)
    means = torch.stack([masked_mse(predicted[part], label[part]) for part in parts]).mean()
    assert abs(means - whole) > 1e-3


def test_a_batch_without_labels_costs_nothing() -> None:
    """Zero, with zero gradient, where nothing was observed; infinite labels stay visible."""
    predicted, label = random_batch()
    loss = masked_mse(predicted, torch.full_like(label, torch.nan))
    loss.backward()
    assert loss == 0
    assert predicted.grad is not None
    assert (predicted.grad == 0).all()
    assert masked_mse(predicted, torch.full_like(label, torch.inf)) == torch.inf


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_counts_are_exact_in_any_precision(dtype: torch.dtype) -> None:
    """The count does not round, whatever the predictions are stored in."""
    predicted = torch.zeros(300, 7, dtype=dtype)
    assert squared_error(predicted, torch.zeros(300, 7, dtype=dtype))[1] == 2100
