"""What a model has to beat: honest baselines (fitted on train, tuned on valid, read on test), and oracles beside them.

An oracle knows something of the test labels; it says what is attainable and is never gated on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from components.evaluate_model.examples import Examples
from components.evaluate_model.features import FEATURE_CHUNK_ROWS, composition_features, kmer_features
from components.evaluate_model.homology import nearest_neighbour
from components.evaluate_model.metrics import GeneGroups, defined_mean, r2_per_tissue
from components.evaluate_model.ridge import PENALTIES, Chunks, Ridge, fit_ridges
from components.sections import BaselineParams

# Name of each honest baseline, and what it knows, as tables and sentences tell it.
HONEST = {
    "tissue_mean": "the mean of each tissue over the training transcripts",
    "ridge": "ridge on lengths and composition",
    "boosting": "gradient boosting on lengths and composition",
    "kmer_ridge": "ridge on k-mer counts of DNA, RNA and protein, and lengths",
    "nearest_neighbour": "the most similar training transcripts, by shared words of RNA or protein",
    "dna_alone": "the DNA tower and head alone, trained by the same recipe",
}
ORACLES = {
    "gene_mean": "the observed mean of the gene's own test transcripts",
    "uniform_share": "the observed gene total, shared evenly by its isoforms",
}
MAX_BOOSTING_LEAVES = 31


@dataclass(frozen=True)
class Fitted:
    """`predictions`: float32 (N_test, T) by name in `HONEST`. `penalties`: what valid chose, by baseline.

    `homology`: similarity of each test transcript to its nearest training transcript, float64 (N_test,).
    """

    predictions: dict[str, np.ndarray]
    penalties: dict[str, float]
    homology: np.ndarray


def honest_predictions(train: Examples, valid: Examples, test: Examples, params: BaselineParams) -> Fitted:
    """Every honest baseline but the one that is a network, fitted on train, tuned on valid, predicting test."""
    # Loaded before their threads are limited: two OpenMP threads on a busy machine wait for each other a hundred times
    # longer than one thread works, and one thread adds up in one order everywhere.
    import scipy.linalg  # noqa: F401
    import sklearn.ensemble  # noqa: F401
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1):
        return _fitted(train, valid, test, params)


def _fitted(train: Examples, valid: Examples, test: Examples, params: BaselineParams) -> Fitted:
    composition = [composition_features(split, dna_bp=params.dna_bp) for split in (train, valid, test)]
    ridge_test, ridge_penalty = _ridge(train, valid, test, *(_rows_of(features) for features in composition))
    kmer_test, kmer_penalty = _ridge(train, valid, test, *(_kmers_of(split, params) for split in (train, valid, test)))
    neighbour_test, neighbours, prior = nearest_neighbour(train, valid, test)
    predictions = {
        "tissue_mean": np.tile(train.labels.mean(axis=0, dtype=np.float64).astype(np.float32), (len(test), 1)),
        "ridge": ridge_test,
        "boosting": _boosting(composition, train.labels, valid.labels, params),
        "kmer_ridge": kmer_test,
        "nearest_neighbour": neighbour_test,
    }
    penalties = {"ridge": ridge_penalty, "kmer_ridge": kmer_penalty, "nearest_neighbour": prior}
    return Fitted(predictions, penalties, neighbours.homology)


def oracle_predictions(observed: np.ndarray, groups: GeneGroups) -> dict[str, np.ndarray]:
    """Predictions of every oracle from the test labels (N, T) themselves: float32 (N, T) by name in `ORACLES`."""
    sizes = groups.sizes[:, None]
    mean = groups.sums(observed.astype(np.float64)) / sizes
    share = np.log1p(groups.sums(np.expm1(observed.astype(np.float64))) / sizes)
    return {
        "gene_mean": mean[groups.gene].astype(np.float32),
        "uniform_share": share[groups.gene].astype(np.float32),
    }


def _rows_of(features: np.ndarray) -> Chunks:
    return lambda rows: features[rows.start : rows.stop]


def _kmers_of(examples: Examples, params: BaselineParams) -> Chunks:
    return lambda rows: kmer_features(
        examples, rows, nucleotides=params.kmer_nucleotides, residues=params.kmer_residues, dna_bp=params.dna_bp
    )


def _ridge(
    train: Examples, valid: Examples, test: Examples, train_x: Chunks, valid_x: Chunks, test_x: Chunks
) -> tuple[np.ndarray, float]:
    ridges = fit_ridges(train_x, list(train.chunks(FEATURE_CHUNK_ROWS)), train.labels, PENALTIES)
    scores = _mean_r2(valid.labels, _predict_all(ridges, valid, valid_x))
    best = ridges[int(np.argmax(scores))]
    return _predict_all([best], test, test_x)[0], best.penalty


def _predict_all(ridges: list[Ridge], examples: Examples, features: Chunks) -> list[np.ndarray]:
    pieces: list[list[np.ndarray]] = [[] for _ in ridges]
    for rows in examples.chunks(FEATURE_CHUNK_ROWS):
        block = features(rows)
        for piece, ridge in zip(pieces, ridges, strict=True):
            piece.append(ridge.predict(block))
    return [np.concatenate(piece) for piece in pieces]


def _mean_r2(observed: np.ndarray, predictions: list[np.ndarray]) -> list[float]:
    """Mean R² over tissues of each prediction; by the error itself where the observed side never varies."""
    scores = [float(defined_mean(r2_per_tissue(observed, predicted))) for predicted in predictions]
    if any(np.isnan(scores)):
        return [-float(((observed - predicted) ** 2).mean()) for predicted in predictions]
    return scores


def _boosting(
    features: list[np.ndarray], train_labels: np.ndarray, valid_labels: np.ndarray, params: BaselineParams
) -> np.ndarray:
    """Boosted trees on the leading principal components of the labels: tissues share most of their variance."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    train_x, valid_x, test_x = features
    mean, to_components, from_components = _principal_components(train_labels, params.boosting_components)
    train_y, valid_y = to_components(train_labels), to_components(valid_labels)
    predicted = np.empty((len(test_x), train_y.shape[1]))
    for component in range(train_y.shape[1]):
        trees = HistGradientBoostingRegressor(
            max_iter=params.boosting_iterations,
            max_leaf_nodes=MAX_BOOSTING_LEAVES,
            early_stopping=True,
            n_iter_no_change=10,
            random_state=0,
        )
        trees.fit(train_x, train_y[:, component], X_val=valid_x, y_val=valid_y[:, component])
        predicted[:, component] = trees.predict(test_x)
    return (mean + from_components(predicted)).astype(np.float32)


def _principal_components(
    labels: np.ndarray, components: int
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """The mean (T,) of labels, and the two ways between labels (N, T) and their leading components (N, C)."""
    mean = labels.mean(axis=0, dtype=np.float64)
    _, _, axes = np.linalg.svd(labels - mean, full_matrices=False)
    # The sign of a singular vector is arbitrary: fixed, so that two machines grow the same trees.
    axes = axes[:components] * np.sign(axes[:components].sum(axis=1, keepdims=True) + 1e-12)
    return mean, lambda values: (values - mean) @ axes.T, lambda scores: scores @ axes
