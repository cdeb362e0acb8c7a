"""Masked language modelling of a rotary encoder: the objective, from sequences to a loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from components.pretrain_tower.masking import NOT_ASKED, masked
from components.sections import PretrainParams
from model.config import RotaryConfig
from model.encoders.rotary_encoder import RotaryEncoder
from model.isoformer import TokenInput
from model.tokenizers import esm_tokens, sixmer_tokens

SIXMER = 6
VALIDATION_SEED = 1_000_003


class LanguageModel(nn.Module):
    """A rotary encoder with the head of ESM-2: linear, GELU, LayerNorm, then the embedding's own matrix."""

    def __init__(self, config: RotaryConfig) -> None:
        super().__init__()
        self.encoder = RotaryEncoder(config)
        self.dense = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))

    def forward(self, tokens: TokenInput, asked: Tensor) -> Tensor:
        """Logits (asked tokens, vocabulary) at the indices `asked`."""
        states = self.encoder(tokens.tokens, tokens.layout)[asked]
        hidden = self.norm(F.gelu(self.dense(states)))
        return F.linear(hidden, self.encoder.embedding.weight, self.bias)


class LanguageObjective:
    """Guess hidden tokens of `sequences`; every crop and every mask is a function of seed, step and row."""

    unit = "sequences"

    def __init__(self, config: RotaryConfig, sequences: Sequence[str], recipe: PretrainParams) -> None:
        self.config, self.sequences, self.recipe = config, sequences, recipe
        self.module = LanguageModel(config)

    @property
    def encoder(self) -> nn.Module:
        """What is kept after pre-training."""
        return self.module.encoder

    def __len__(self) -> int:
        return len(self.sequences)

    def loss(self, rows: np.ndarray, step: int, device: torch.device) -> Tensor:
        """Mean cross-entropy of the asked tokens of `rows`."""
        logits, labels = self._forward(rows, step, device)
        return F.cross_entropy(logits, labels)

    def sums(self, rows: np.ndarray, device: torch.device) -> np.ndarray:
        """Sum of cross-entropies, of right guesses, and number of asked tokens of validation `rows`: (3,)."""
        logits, labels = self._forward(rows, VALIDATION_SEED, device)
        right = (logits.argmax(dim=1) == labels).sum()
        return np.array([float(F.cross_entropy(logits, labels, reduction="sum")), float(right), len(labels)])

    @staticmethod
    def figures(sums: np.ndarray) -> dict[str, float]:
        """Validation figures of summed `sums`; a model that knows nothing has a cross-entropy of ln(letters)."""
        return {"loss": sums[0] / sums[2], "accuracy": sums[1] / sums[2]}

    def _forward(self, rows: np.ndarray, step: int, device: torch.device) -> tuple[Tensor, Tensor]:
        pairs = [self._example(row, step) for row in rows.tolist()]
        offsets = np.cumsum([0, *(len(seen) for seen, _ in pairs)])
        seen = TokenInput.from_packed(np.concatenate([pair[0] for pair in pairs]), offsets, device)
        # The same way through the same layout: labels stand where their tokens do.
        labels = TokenInput.from_packed(np.concatenate([pair[1] for pair in pairs]), offsets, device).tokens
        asked = torch.nonzero(labels != NOT_ASKED)[:, 0]
        return self.module(seen, asked), labels[asked]

    def _example(self, row: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng([self.recipe.seed, step, row])
        tokens = self._tokens(self.sequences[row], generator)
        return masked(tokens, self.config.alphabet, self.recipe.mask_rate, generator)

    def _tokens(self, sequence: str, generator: np.random.Generator) -> np.ndarray:
        """Tokens of a random crop that fits the encoder; six-mers are read in a random frame."""
        if self.config.alphabet == "esm":
            residues = self.config.max_tokens - 2
            start = int(generator.integers(max(0, len(sequence) - residues) + 1))
            return esm_tokens(sequence[start : start + residues])
        # The rest of five single nucleotides costs a token each.
        longest = SIXMER * (self.config.max_tokens - SIXMER)
        surplus = len(sequence) - longest
        start = int(generator.integers(surplus + 1 if surplus > 0 else min(SIXMER, len(sequence))))
        piece = sixmer_tokens(sequence[start : start + longest])
        return piece[: self.config.max_tokens]
