"""The predictor's backend that runs the network in PyTorch."""

from __future__ import annotations

import numpy as np
import torch

from model.batch import PackedBatch
from model.isoformer import IsoFormer, TorchBatch


class TorchBackend:
    """Runs a model in evaluation mode on one device."""

    def __init__(self, model: IsoFormer, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()

    def run(self, batch: PackedBatch) -> np.ndarray:
        """log1p TPM, float32 (B, tissues)."""
        with torch.inference_mode():
            predicted = self.model.to_log1p(self.model(TorchBatch.from_packed(batch, self.device)))
        return predicted.float().cpu().numpy()
