"""What the model really uses: its predictions with inputs taken away, exchanged or made random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from components.evaluate_model.examples import Examples
from components.evaluate_model.metrics import GeneGroups
from components.evaluate_model.prediction import donors_across_genes, predict
from components.sections import EvaluateParams

if TYPE_CHECKING:
    from model.predictor import Predictor

# A modality is taken away only where the model was trained without it, on at least this share of transcripts: else
# the answer would tell of inputs that it never saw.
MIN_TRAINED_WITHOUT = 0.01
RANDOM_DNA = "random_dna"
ISOFORMS_PERMUTED = "isoforms_permuted"


def presence(examples: Examples) -> dict[str, np.ndarray]:
    """Which transcripts have each modality: bool (N,)."""
    return {
        "dna": np.ones(len(examples), dtype=bool),
        "rna": np.array([bool(rna) for rna in examples.rna]),
        "protein": np.array([bool(protein) for protein in examples.protein]),
    }


def shuffled_predictions(
    predictor: Predictor, test: Examples, modalities: tuple[str, ...], seed: int
) -> dict[str, np.ndarray]:
    """Predictions (N, T) with each modality in turn taken from a transcript of another gene."""
    groups, present = GeneGroups.of(test.gene_ids), presence(test)
    return {
        name: predict(
            predictor,
            test,
            modalities,
            donors={name: donors_across_genes(groups, present[name], seed)},
            description=f"predict with {name} shuffled",
        )
        for name in modalities
    }


def ablated_predictions(
    predictor: Predictor,
    test: Examples,
    modalities: tuple[str, ...],
    *,
    predicted: np.ndarray,
    trained_without: Mapping[str, float],
    params: EvaluateParams,
) -> dict[str, np.ndarray]:
    """Predictions (N, T) by ablation: `without_<modality>`, `isoforms_permuted`, `random_dna`.

    `trained_without`: share of training transcripts that lack each modality. `predicted`: those of the whole input.
    """
    found: dict[str, np.ndarray] = {}
    for name in modalities:
        if trained_without.get(name, 0.0) >= MIN_TRAINED_WITHOUT and len(modalities) > 1:
            kept = tuple(other for other in modalities if other != name)
            found[f"without_{name}"] = predict(predictor, test, kept, description=f"predict without {name}")
    # All of a transcript's sequences together are another isoform's: its prediction, too.
    found[ISOFORMS_PERMUTED] = predicted[donors_within_gene(GeneGroups.of(test.gene_ids))]
    if "dna" in modalities:
        found[RANDOM_DNA] = predict(
            predictor, test, modalities, random_dna_seed=params.seed, description="predict with random DNA"
        )
    return found


def donors_within_gene(groups: GeneGroups) -> np.ndarray:
    """For each transcript the next isoform of its gene, the first for the last: int64 (N,)."""
    donors = np.empty(len(groups.gene), dtype=np.int64)
    following = groups.order.copy()
    ends = groups.starts + groups.sizes - 1
    following[:-1] = groups.order[1:]
    following[ends] = groups.order[groups.starts]
    donors[groups.order] = following
    return donors
