"""With torch's CUDA build, no GPU needed: every operation of the forward pass runs on the GPU and none waits for it.

Tensors have a device and no storage. A tensor left on the host, a type that autocast does not join, or a question that
only the data can answer (a wait for the device) is an error. How values come out is for the tests with numbers.
"""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from model.isoformer import IsoFormer, TorchBatch
from model.planning import SequenceLengths, sample_batch
from model.presets import preset

pytestmark = pytest.mark.skipif(torch.version.cuda is None, reason="torch's build for CPUs")
HOPPER = (9, 0)


def copied(array: np.ndarray, device: torch.device) -> Tensor:
    """As `to_device`, but not from pinned memory, which needs a driver."""
    return torch.from_numpy(array).to(device)


@pytest.mark.parametrize("name", ["isoformer", "isoformer-released", "isoformer-nt"])
@pytest.mark.parametrize("training", [True, False])
def test_the_full_size_forward_pass_stays_on_the_gpu(name: str, training: bool) -> None:
    """In mixed precision, with the kernel for packed sequences."""
    config = preset(name)
    batch = sample_batch(config, SequenceLengths.typical(), 6, seed=0)
    kernels = []

    def kernel(q_THK: Tensor, *others: object) -> Tensor:
        kernels.append(q_THK.device.type)
        return torch.empty_like(q_THK)

    with (
        patch("model.encoders.layout.to_device", copied),
        patch("model.isoformer.to_device", copied),
        patch("model.pairs.to_device", copied),
        patch("model.encoders.rotary_encoder.packed_attention", kernel),
        patch("torch.cuda.get_device_capability", lambda *_: HOPPER),
        patch("torch.cuda.is_bf16_supported", lambda *_: True),
        patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False),
        FakeTensorMode(),
    ):
        with torch.device("cuda"):
            model = IsoFormer(config).train(training)
        with torch.autocast("cuda", torch.bfloat16), torch.set_grad_enabled(training):
            predicted = model(TorchBatch.from_packed(batch, "cuda"))
    assert predicted.device.type == "cuda"
    assert predicted.dtype == torch.bfloat16
    assert predicted.shape == (6, len(config.tissues))
    assert set(kernels) == {"cuda"}
