"""Claim: intervals of all per-tissue figures take seconds: 5,000 transcripts, 30 tissues, 2,000 resamples of genes.

    python -m benchmarks.evaluation

Peer: the same figures by resampling rows and calling scikit-learn's r2_score and scipy's spearmanr, timed on a few
resamples and extrapolated. Both run on one thread, in processor time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from components.evaluate_model.bootstrap import gene_resamples, r2_samples, spearman_samples
from components.evaluate_model.metrics import GeneGroups

TRANSCRIPTS, GENES, TISSUES, RESAMPLES = 5000, 1040, 30, 2000
PEER_RESAMPLES = 10
LIMIT_S = 20.0


def main() -> None:
    """Print ours, the peer's and the limit side by side."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    generator = np.random.default_rng(0)
    gene = np.concatenate([np.arange(GENES), generator.integers(GENES, size=TRANSCRIPTS - GENES)])
    groups = GeneGroups.of([f"g{number:05d}" for number in gene])
    observed = generator.normal(size=(TRANSCRIPTS, TISSUES)).astype(np.float32)
    predicted = (observed + generator.normal(size=observed.shape)).astype(np.float32)
    counts = gene_resamples(GENES, RESAMPLES, seed=0)
    print(
        f"{TRANSCRIPTS:,} transcripts, {GENES:,} genes, {TISSUES} tissues, {RESAMPLES:,} resamples; processor seconds"
    )
    print("figure     ours      peer (extrapolated)   limit   largest difference on the peer's resamples")
    total = 0.0
    with threadpool_limits(limits=1):
        for name, ours, peer in (("R²", r2_samples, _peer_r2), ("Spearman", spearman_samples, _peer_spearman)):
            seconds, draws = _timed(lambda function=ours: function(counts, groups, observed, predicted))
            peer_seconds, expected = _timed(
                lambda function=peer: _naive(counts[:PEER_RESAMPLES], groups, observed, predicted, function)
            )
            total += seconds
            difference = float(np.abs(draws[:PEER_RESAMPLES] - expected).max())
            scaled = peer_seconds * RESAMPLES / PEER_RESAMPLES
            print(f"{name:10} {seconds:6.2f}    {scaled:8.1f}              {LIMIT_S:g}      {difference:.1e}")
    print(f"{total:.1f} s for all; the claim {'holds' if total <= LIMIT_S else 'DOES NOT HOLD'}")


def _timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def _naive(
    counts: np.ndarray,
    groups: GeneGroups,
    observed: np.ndarray,
    predicted: np.ndarray,
    figure: Callable[[np.ndarray, np.ndarray], float],
) -> np.ndarray:
    rows = [np.repeat(np.arange(len(observed)), draw[groups.gene]) for draw in counts]
    return np.array(
        [[figure(observed[row, tissue], predicted[row, tissue]) for tissue in range(TISSUES)] for row in rows]
    )


def _peer_r2(observed: np.ndarray, predicted: np.ndarray) -> float:
    from sklearn.metrics import r2_score

    return float(r2_score(observed, predicted))


def _peer_spearman(observed: np.ndarray, predicted: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(observed, predicted).statistic)


if __name__ == "__main__":
    main()
