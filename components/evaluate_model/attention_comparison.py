"""The RNA attention of a trained network against that of the same network before training, on test transcripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.artifacts import Artifact, digest_of
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
from components.sections import WeightsParams
from components.train_model.weight_files import weight_files
from model.batch import TranscriptInput, collate

if TYPE_CHECKING:
    from model.isoformer import IsoFormer

BATCH_TRANSCRIPTS = 16


def compare_attention(
    model: Artifact, network: IsoFormer, test: Examples, most: int, weights: WeightsParams
) -> AttentionTable | None:
    """Test up to `most` coding test transcripts; None without an RNA encoder, without them, or without a "before"."""
    rows = np.flatnonzero(test.cds_start >= 0)
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:most])
    before = initial_network(model, network, weights) if network.config.rna is not None and len(rows) else None
    if before is None:
        return None
    first, second, tokens = [], [], []
    with track(len(rows), "attention", "transcripts") as advance:
        for start in range(0, len(rows), BATCH_TRANSCRIPTS):
            chunk = rows[start : start + BATCH_TRANSCRIPTS].tolist()
            overlaps = _weights(test, chunk, network)
            first += _shares(before, test, chunk, overlaps)
            second += _shares(network, test, chunk, overlaps)
            tokens += [token_shares(item) for item in overlaps]
            advance(len(chunk))
    groups = GeneGroups.of([test.gene_ids[row] for row in rows.tolist()])
    tests = attention_tests(np.stack(first), np.stack(second), np.stack(tokens), groups)
    origin = "published weights" if needed_weights(model) else "random weights"
    return AttentionTable(f"the network as training began, from {origin}", len(rows), tests)


def initial_network(model: Artifact, network: IsoFormer, weights: WeightsParams) -> IsoFormer | None:
    """The network as its training began; None where the artifact does not tell, or its first weights are not at hand.

    `weights`: checkpoints of this machine; those that training began from are known by their digests.
    """
    import torch

    from components.train_model.towers import load_initial_weights
    from model.isoformer import IsoFormer

    try:
        recipe = json.loads((model.payload / "params.json").read_text(encoding="utf-8"))
        seed = int(recipe["train"]["seed"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if needed_weights(model) and initial_weights(model, weights).keys() != needed_weights(model):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        before = IsoFormer(network.config)
        if needed_weights(model):
            load_initial_weights(before, weights)
        return before.eval()


def needed_weights(model: Artifact) -> set[str]:
    """Names of the checkpoints that training began from, as the model's manifest tells; empty for random weights."""
    return set(model.manifest["inputs"]) - {"transcripts"}


def initial_weights(model: Artifact, weights: WeightsParams) -> dict[str, Path]:
    """Those of the configured checkpoints that training began from, by name."""
    return {
        name: path
        for name, path in weight_files(weights).items()
        if path.exists() and digest_of(path) == model.manifest["inputs"].get(name)
    }


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
