"""Predictions for the test split through the one inference path, as given and with a modality shuffled across genes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from components.evaluate_model.examples import Examples
from components.evaluate_model.metrics import GeneGroups
from components.progress import track
from model.batch import TranscriptInput

if TYPE_CHECKING:
    from model.predictor import Predictor

PREDICTION_CHUNK_ROWS = 256


def predict(
    predictor: Predictor,
    examples: Examples,
    modalities: tuple[str, ...],
    *,
    donors: Mapping[str, np.ndarray] | None = None,
    random_dna_seed: int | None = None,
    description: str = "predict",
) -> np.ndarray:
    """log1p TPM of all transcripts: float32 (N, T).

    A transcript that has none of the model's modalities gets the tissue means that the model was trained with.
    `donors[modality][row]` is the transcript whose sequence of that modality is given to `row` instead of its own.
    With `random_dna_seed`, every DNA window is one of random bases.
    """
    pieces = []
    with track(len(examples), description, "transcripts") as advance:
        for rows in examples.chunks(PREDICTION_CHUNK_ROWS):
            inputs = [
                transcript_input(examples, row, modalities, donors or {}, random_dna_seed, predictor.config.window_bp)
                for row in rows
            ]
            known = [not (item.dna is None and item.rna is None and item.protein is None) for item in inputs]
            block = np.tile(np.asarray(predictor.config.output_mean, dtype=np.float32), (len(rows), 1))
            readable = [item for item, has_any in zip(inputs, known, strict=True) if has_any]
            block[known] = predictor.predict(readable).log1p_tpm
            pieces.append(block)
            advance(len(rows))
    return np.concatenate(pieces)


def transcript_input(
    examples: Examples,
    row: int,
    modalities: tuple[str, ...],
    donors: Mapping[str, np.ndarray] | None = None,
    random_dna_seed: int | None = None,
    window_bp: int | None = None,
) -> TranscriptInput:
    """What the model reads of one transcript: windows of `window_bp` around its TSS, the dataset's own length if None.

    `donors` and `random_dna_seed` as for `predict`.
    """
    source = {name: int(donors[name][row]) if donors and name in donors else row for name in modalities}
    dna = None
    if "dna" in source:
        dna = examples.window(source["dna"], window_bp=window_bp)
        if random_dna_seed is not None:
            dna = np.random.default_rng([random_dna_seed, row]).integers(0, 4, len(dna)).astype(np.uint8)
    return TranscriptInput(
        dna=dna,
        rna=(examples.rna[source["rna"]] or None) if "rna" in source else None,
        protein=(examples.protein[source["protein"]] or None) if "protein" in source else None,
    )


def donors_across_genes(groups: GeneGroups, eligible: np.ndarray, seed: int) -> np.ndarray:
    """For each transcript another one, of another gene, to take a sequence from: int64 (N,).

    Only `eligible` transcripts (bool (N,), those that have the sequence) give and receive, each once; the others keep
    their own. Where one gene holds more than half of them, some receive from their own gene.
    """
    generator = np.random.default_rng(seed)
    rank_of_gene = generator.permutation(len(groups.sizes))
    rows = np.flatnonzero(eligible)
    ordered = rows[np.argsort(rank_of_gene[groups.gene[rows]], kind="stable")]
    donors = np.arange(len(eligible))
    if len(rows) < 2:
        return donors
    # In gene order, a rotation by at least the largest gene leaves no transcript in its own.
    largest = int(np.bincount(groups.gene[rows]).max())
    count = len(rows)
    shift = int(generator.integers(largest, count - largest + 1)) if 2 * largest <= count else count // 2
    donors[ordered] = np.roll(ordered, shift)
    return donors
