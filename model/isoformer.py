"""IsoFormer: three encoders, their fusion, one head.

W distinct DNA windows of L base pairs, B transcripts, T tokens, D channels.
Source: "Multi-modal Transfer Learning between Biological Foundation Models", section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from model.batch import PackedBatch
from model.config import MODALITIES, EnformerConfig, HeadConfig, IsoFormerConfig
from model.encoders.enformer import Enformer
from model.encoders.layout import TokenLayout, packed_layout, padded_layout, to_device
from model.encoders.rotary_encoder import RotaryEncoder, initialise_linear
from model.fusion import Fusion, ModalityStates, window_states
from model.provenance import LoadReport

if TYPE_CHECKING:
    from model.card import CardFacts


@dataclass(frozen=True, kw_only=True)
class TokenInput:
    """Token ids int64 (T,) and where they lie."""

    tokens: Tensor
    layout: TokenLayout

    @classmethod
    def from_packed(cls, tokens: np.ndarray, offsets: np.ndarray, device: torch.device) -> TokenInput:
        """Packed tokens (T,) with offsets (N + 1,)."""
        layout, order = packed_layout(np.diff(offsets), device)
        return cls(tokens=to_device(tokens[order].astype(np.int64), device), layout=layout)

    @classmethod
    def from_padded(cls, tokens_NL: Tensor, lengths_N: Tensor) -> TokenInput:
        """Padded tokens (N, L) with lengths (N,)."""
        sequences, length = tokens_NL.shape
        return cls(tokens=tokens_NL.flatten(), layout=padded_layout(sequences, length, lengths_N))


@dataclass(frozen=True, kw_only=True)
class TorchBatch:
    """B transcripts on a device.

    windows: uint8 (W, L). window_of_transcript: int64 (B,), W = none; window_of_transcript_host: the same, where the
    host knows it. dna: six-mers of the windows, for a DNA encoder that reads tokens. present: bool (B, 3) in the order
    dna, rna, protein.
    """

    windows: Tensor
    window_of_transcript: Tensor
    dna: TokenInput | None
    rna: TokenInput
    protein: TokenInput
    present: Tensor
    window_of_transcript_host: np.ndarray | None = None

    @classmethod
    def from_packed(cls, batch: PackedBatch, device: torch.device | str = "cpu") -> TorchBatch:
        """Move a packed batch to a device, with the index maps that every layer uses."""
        place = torch.device(device)
        has_dna_tokens = len(batch.dna_offsets) > 1
        windows = len(batch.dna_offsets) - 1 if has_dna_tokens else len(batch.windows)
        index = np.where(batch.window_of_transcript < 0, windows, batch.window_of_transcript)
        return cls(
            windows=to_device(batch.windows, place),
            window_of_transcript=to_device(index, place),
            window_of_transcript_host=index,
            dna=TokenInput.from_packed(batch.dna_tokens, batch.dna_offsets, place),
            rna=TokenInput.from_packed(batch.rna_tokens, batch.rna_offsets, place),
            protein=TokenInput.from_packed(batch.protein_tokens, batch.protein_offsets, place),
            present=to_device(batch.present, place),
        )


class IsoFormer(nn.Module):
    """Expression of transcripts in each tissue from DNA, RNA and protein, any of them absent."""

    output_mean: Tensor
    output_std: Tensor

    def __init__(self, config: IsoFormerConfig) -> None:
        super().__init__()
        self.config = config
        # The published weights that this model grew from, by part; their licences go into its card.
        self.origins: dict[str, LoadReport] = {}
        self.encoders = nn.ModuleDict()
        for name in config.modalities:
            encoder = getattr(config, name)
            if isinstance(encoder, EnformerConfig):
                self.encoders[name] = Enformer(encoder, config.window_bp)
            else:
                self.encoders[name] = RotaryEncoder(encoder)
        self.fusion = Fusion(config)
        self.head = Head(self.fusion.output_width, len(config.tissues), config.head)
        # The configuration holds the scale and is stored beside the weights: one place, not two.
        count = len(config.tissues)
        self.register_buffer("output_mean", torch.tensor(config.output_mean or (0.0,) * count), persistent=False)
        self.register_buffer("output_std", torch.tensor(config.output_std or (1.0,) * count), persistent=False)

    def forward(self, batch: TorchBatch, dna_states: Tensor | None = None) -> Tensor:
        """Standardised log1p expression, (B, tissues).

        `dna_states` (W, Q, D): what an Enformer made of these windows before, if they are not to be encoded again.
        """
        states = {name: self._encode(name, batch, dna_states) for name in self.config.modalities}
        predicted: Tensor = self.head(self.fusion(states))
        return predicted

    def to_log1p(self, standardised: Tensor) -> Tensor:
        """Undo the standardisation of the labels: log1p TPM, (B, tissues)."""
        return standardised * self.output_std + self.output_mean

    def save_pretrained(self, folder: Path | str, facts: CardFacts | None = None) -> None:
        """Write config.json, model.safetensors and README.md, the model card, as a new folder (see `weights`)."""
        from model.weights import save_pretrained

        save_pretrained(self, Path(folder), facts=facts)

    @classmethod
    def from_pretrained(cls, folder: Path | str, device: torch.device | str = "cpu") -> IsoFormer:
        """Read a local folder that `save_pretrained` wrote, strictly, in evaluation mode; nothing is downloaded."""
        from model.weights import load_model

        return load_model(Path(folder), device)

    def _encode(self, name: str, batch: TorchBatch, dna_states: Tensor | None = None) -> ModalityStates:
        encoder = self.encoders[name]
        present = batch.present[:, MODALITIES.index(name)]
        if isinstance(encoder, Enformer):
            host = batch.window_of_transcript_host
            encoded = encoder(batch.windows) if dna_states is None else dna_states
            return window_states(encoded, batch.window_of_transcript, present, host)
        tokens: TokenInput = getattr(batch, name)
        return ModalityStates(
            states=encoder(tokens.tokens, tokens.layout),
            layout=tokens.layout,
            of_transcript=batch.window_of_transcript if name == "dna" else None,
            present=present,
            of_transcript_host=batch.window_of_transcript_host if name == "dna" else None,
        )


class Head(nn.Module):
    """Linear(D, hidden) → GELU → Linear(hidden, tissues)."""

    def __init__(self, width: int, tissues: int, config: HeadConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        hidden = round(width * config.expansion)
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, tissues)
        initialise_linear(self.inner, 1.0)
        initialise_linear(self.outer, 1.0)

    def forward(self, pooled_BD: Tensor) -> Tensor:
        """(B, D) → (B, tissues)."""
        hidden = F.gelu(self.inner(pooled_BD))
        predicted: Tensor = self.outer(F.dropout(hidden, self.dropout, self.training))
        return predicted
