"""The RNA attention of a trained network against that of the same network before training, on test transcripts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from components.artifacts import Artifact
from components.evaluate_model.attention import (
    AttentionTable,
    attention_tests,
    element_shares,
    element_weights,
    token_shares,
)
from components.evaluate_model.examples import Examples
from components.evaluate_model.metrics import GeneGroups
from components.progress import track
from model.batch import TranscriptInput, collate

if TYPE_CHECKING:
    from model.isoformer import IsoFormer

BATCH_TRANSCRIPTS = 16


def compare_attention(model: Artifact, network: IsoFormer, test: Examples, most: int) -> AttentionTable | None:
    """Test up to `most` coding test transcripts; None without an RNA encoder, without them, or without a "before"."""
    rows = np.flatnonzero(test.cds_start >= 0)
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:most])
    before = initial_network(model, network) if network.config.rna is not None and len(rows) else None
    if before is None:
        return None
    first, second, tokens = [], [], []
    with track(len(rows), "attention", "transcripts") as advance:
        for start in range(0, len(rows), BATCH_TRANSCRIPTS):
            chunk = rows[start : start + BATCH_TRANSCRIPTS].tolist()
            weights = _weights(test, chunk, network)
            first += _shares(before, test, chunk, weights)
            second += _shares(network, test, chunk, weights)
            tokens += [token_shares(item) for item in weights]
            advance(len(chunk))
    groups = GeneGroups.of([test.gene_ids[row] for row in rows.tolist()])
    tests = attention_tests(np.stack(first), np.stack(second), np.stack(tokens), groups)
    return AttentionTable("the network as training began, from random weights", len(rows), tests)


def initial_network(model: Artifact, network: IsoFormer) -> IsoFormer | None:
    """The network as its training began; None where the artifact does not tell, or it began from other weights."""
    import torch

    from model.isoformer import IsoFormer

    try:
        recipe = json.loads((model.payload / "params.json").read_text(encoding="utf-8"))
        seed = int(recipe["train"]["seed"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return IsoFormer(network.config).eval()


def _weights(test: Examples, rows: list[int], network: IsoFormer) -> list[np.ndarray]:
    """Elements of each transcript's tokens, (S, 3)."""
    batch = collate([TranscriptInput(rna=test.rna[row]) for row in rows], network.config)
    return [
        element_weights(
            batch.rna_tokens[begin:end], len(test.rna[row]), int(test.cds_start[row]), int(test.cds_end[row])
        )
        for row, begin, end in zip(rows, batch.rna_offsets[:-1], batch.rna_offsets[1:], strict=True)
    ]


def _shares(network: IsoFormer, test: Examples, rows: list[int], weights: list[np.ndarray]) -> list[np.ndarray]:
    """Shares of attention by element, (L, H, 3) per transcript."""
    from model.attention_maps import rna_attention_received

    batch = collate([TranscriptInput(rna=test.rna[row]) for row in rows], network.config)
    received = rna_attention_received(network, batch)
    return [element_shares(item.numpy(), weight) for item, weight in zip(received, weights, strict=True)]
