"""Sequences to expression: the one path of inference, behind evaluation, packaging and serving. Numpy only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from model.batch import PackedBatch, TokenizedTranscript, TranscriptInput, pack, tokenize
from model.config import EnformerConfig, IsoFormerConfig
from model.tokenizers import DNA_CODE_N, ESM_UNK, crop_rna, dna_codes, esm_tokens

# A convolved DNA window is counted as one token of the other towers per this many base pairs.
WINDOW_BP_PER_TOKEN = 64
BASES_PER_SIXMER = 6
DEFAULT_BUDGET_TOKENS = 16_384


class Backend(Protocol):
    """Whatever can run a packed batch: PyTorch or ONNX Runtime."""

    def run(self, batch: PackedBatch) -> np.ndarray:
        """log1p TPM, float32 (B, tissues)."""
        ...


@dataclass(frozen=True, kw_only=True)
class SequenceNote:
    """What was done to one sequence before prediction; `field` is dna, rna or protein, `code` a stable name."""

    field: str
    code: str
    message: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """`log1p_tpm`: float32 (N, tissues); `notes`: for each of the N inputs, what was cut, padded or replaced."""

    log1p_tpm: np.ndarray
    notes: tuple[tuple[SequenceNote, ...], ...]


class Predictor:
    """Predicts any number of transcripts through a backend, in batches of at most `budget_tokens`.

    Transcripts that share a DNA window stand together, like lengths next to each other; a transcript larger than the
    budget makes a batch of its own. For a backend that pads (`backend.pads`) the padding counts.
    """

    def __init__(self, backend: Backend, config: IsoFormerConfig, budget_tokens: int = DEFAULT_BUDGET_TOKENS) -> None:
        self.backend = backend
        self.config = config
        self.budget_tokens = budget_tokens

    def predict(self, inputs: Sequence[TranscriptInput]) -> Predictions:
        """Expression of N transcripts in their given order; `InputError` where one cannot be read by the model."""
        transcripts = [tokenize(item, self.config) for item in inputs]
        result = np.empty((len(inputs), len(self.config.tissues)), dtype=np.float32)
        padded = getattr(self.backend, "pads", False)
        for rows in plan_batches(transcripts, self.config, self.budget_tokens, padded=padded):
            result[rows] = self.backend.run(pack([transcripts[row] for row in rows], self.config))
        return Predictions(log1p_tpm=result, notes=tuple(tuple(_notes(item, self.config)) for item in inputs))


def plan_batches(
    transcripts: Sequence[TokenizedTranscript], config: IsoFormerConfig, budget_tokens: int, *, padded: bool = False
) -> list[list[int]]:
    """Rows of each batch: every row once, at most `budget_tokens` in a batch unless a row alone has more.

    Transcripts that share a window are split only where they do not fit one batch together. `padded`: a batch costs the
    rectangles that it is padded to; one long transcript among many short ones would else take many times its budget.
    """
    cost = _Cost(transcripts, window_tokens(config), padded=padded)
    groups: dict[bytes | int, list[int]] = {}
    for row, item in enumerate(transcripts):
        groups.setdefault(row if item.dna is None else item.dna.tobytes(), []).append(row)
    batches: list[list[int]] = [[]]
    windows = 0
    for rows in sorted(groups.values(), key=lambda rows: max(cost.of_row(row) for row in rows)):
        shared = int(transcripts[rows[0]].dna is not None)
        pieces = [rows] if cost.of_batch(rows, shared) <= budget_tokens else _split(rows, shared, cost, budget_tokens)
        for piece in pieces:
            if batches[-1] and cost.of_batch([*batches[-1], *piece], windows + shared) > budget_tokens:
                batches.append([])
                windows = 0
            batches[-1].extend(piece)
            windows += shared
    return [rows for rows in batches if rows]


class _Cost:
    """What batches cost, in tokens of the RNA and protein towers."""

    def __init__(self, transcripts: Sequence[TokenizedTranscript], window_cost: int, *, padded: bool) -> None:
        pairs = [[0 if tokens is None else len(tokens) for tokens in (item.rna, item.protein)] for item in transcripts]
        self._lengths = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        self._tokens = self._lengths.sum(axis=1).tolist()
        self._window_cost, self._padded = window_cost, padded

    def of_row(self, row: int) -> int:
        """Tokens of one transcript without its window."""
        return int(self._tokens[row])

    def of_batch(self, rows: list[int], windows: int) -> int:
        """Tokens of a batch of transcripts over this many distinct windows."""
        if self._padded:
            tokens = len(rows) * int(self._lengths[rows].max(axis=0).sum())
        else:
            tokens = sum(self._tokens[row] for row in rows)
        return windows * self._window_cost + tokens


def _split(rows: list[int], windows: int, cost: _Cost, budget_tokens: int) -> list[list[int]]:
    """Rows in ascending cost, cut into pieces of at most `budget_tokens`, a larger row alone."""
    pieces: list[list[int]] = []
    for row in sorted(rows, key=cost.of_row):
        if not pieces or cost.of_batch([*pieces[-1], row], windows) > budget_tokens:
            pieces.append([])
        pieces[-1].append(row)
    return pieces


def window_tokens(config: IsoFormerConfig) -> int:
    """What one DNA window costs, in tokens of the other towers."""
    if config.dna is None:
        return 0
    per_token = WINDOW_BP_PER_TOKEN if isinstance(config.dna, EnformerConfig) else BASES_PER_SIXMER
    return -(-config.window_bp // per_token)


def _notes(item: TranscriptInput, config: IsoFormerConfig) -> Iterator[SequenceNote]:
    """What `tokenize` did to the sequences that the model reads."""
    if item.dna is not None and config.dna is not None:
        known = np.flatnonzero(item.dna < DNA_CODE_N)
        inner = int(known[-1] - known[0] + 1) if len(known) else 0
        if inner < len(item.dna):
            message = f"{len(item.dna) - inner:,} of {len(item.dna):,} bp at the window's ends are N"
            yield SequenceNote(field="dna", code="padded", message=message)
        if len(known) < inner:
            message = f"{inner - len(known):,} unknown bases were read as N"
            yield SequenceNote(field="dna", code="unknown_to_n", message=message)
    if item.rna and config.rna is not None:
        kept = crop_rna(item.rna, config.rna.max_tokens)
        if len(kept) < len(item.rna):
            message = f"the {len(kept):,} nt at the 3' end were kept of {len(item.rna):,}"
            yield SequenceNote(field="rna", code="cropped", message=message)
        unknown = int((dna_codes(kept) == DNA_CODE_N).sum())
        if unknown:
            message = f"{unknown:,} unknown bases were read as N"
            yield SequenceNote(field="rna", code="unknown_to_n", message=message)
    if item.protein and config.protein is not None:
        residues = config.protein.max_tokens - 2
        if len(item.protein) > residues:
            message = f"the {residues:,} residues at the N-terminus were kept of {len(item.protein):,}"
            yield SequenceNote(field="protein", code="cropped", message=message)
        unknown = int((esm_tokens(item.protein, max_residues=residues) == ESM_UNK).sum())
        if unknown:
            message = f"{unknown:,} letters that are no residue were read as unknown"
            yield SequenceNote(field="protein", code="unknown_to_unk", message=message)
