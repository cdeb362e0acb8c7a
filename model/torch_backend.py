"""The predictor's backend that runs the network in PyTorch."""

from __future__ import annotations

import numpy as np
import torch

from model.batch import PackedBatch
from model.encoders.enformer import Enformer
from model.isoformer import IsoFormer, TorchBatch
from model.window_cache import WindowCache


class TorchBackend:
    """Runs a model in evaluation mode on one device.

    `cache_bytes` of an Enformer's window states are kept in the host's memory, so that a window asked again, in another
    batch, is not encoded again; 0 keeps none. Raises `MemoryError` where the device has too little for a batch.
    """

    def __init__(self, model: IsoFormer, device: torch.device | str = "cpu", *, cache_bytes: int = 0) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.cache = WindowCache(cache_bytes)

    def run(self, batch: PackedBatch) -> np.ndarray:
        """log1p TPM, float32 (B, tissues)."""
        try:
            with torch.inference_mode():
                inputs = TorchBatch.from_packed(batch, self.device)
                predicted = self.model.to_log1p(self.model(inputs, self._window_states(inputs, batch.windows)))
            return predicted.float().cpu().numpy()
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise MemoryError(str(error).partition("\n")[0]) from None

    def _window_states(self, inputs: TorchBatch, windows: np.ndarray) -> torch.Tensor | None:
        """States (W, Q, D) of all windows, those that are not kept encoded together; None where nothing is kept."""
        if "dna" not in self.model.encoders or not self.cache.max_bytes or not len(windows):
            return None
        encoder = self.model.encoders["dna"]
        if not isinstance(encoder, Enformer):
            return None
        states = [self.cache.get(window) for window in windows]
        missing = [place for place, found in enumerate(states) if found is None]
        if missing:
            for place, encoded in zip(missing, encoder(inputs.windows[missing]).cpu().numpy(), strict=True):
                # A copy: a view would keep the whole batch's states.
                kept = states[place] = encoded.copy()
                self.cache.put(windows[place], kept)
        return torch.from_numpy(np.stack([found for found in states if found is not None])).to(self.device)
