"""The model's skill by kind of transcript: biotype, modalities, length, expression, homology to training."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.evaluate_model.bootstrap import Interval, r2_samples, spearman_samples
from components.evaluate_model.examples import Examples
from components.evaluate_model.metrics import (
    GeneGroups,
    defined_mean,
    divided,
    r2_per_tissue,
    skill,
    spearman_per_tissue,
)
from components.evaluate_model.scores import Scorer, interval_json

# Fewer transcripts than this are shown without a figure.
MIN_TRANSCRIPTS = 10
MOST_BIOTYPES = 6
HOMOLOGY_EDGES = (0.05, 0.2, 0.5)


@dataclass(frozen=True)
class Stratum:
    """One kind of transcripts: which (bool (N,)), in which partition, under which name."""

    partition: str
    name: str
    rows: np.ndarray


@dataclass(frozen=True)
class StratumScore:
    """`r2` and `spearman`: means over tissues within the stratum. `bias`: mean of predicted − observed, log1p TPM."""

    partition: str
    name: str
    transcripts: int
    genes: int
    r2: Interval
    spearman: Interval
    bias: Interval

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "partition": self.partition,
            "name": self.name,
            "transcripts": self.transcripts,
            "genes": self.genes,
            "r2": interval_json(self.r2),
            "spearman": interval_json(self.spearman),
            "bias": interval_json(self.bias),
        }


def strata_of(test: Examples, homology: np.ndarray) -> list[Stratum]:
    """All strata of the test transcripts; `homology`: similarity to the nearest training transcript, float64 (N,)."""
    return [Stratum(partition, name, rows) for partition, name, rows in _partitions(test, homology) if rows.any()]


def _partitions(test: Examples, homology: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    biotype = np.array([name or "not stated" for name in test.gene_types], dtype=object)
    names, counts = np.unique(biotype, return_counts=True)
    common = names[np.argsort(-counts, kind="stable")][:MOST_BIOTYPES]
    for name in common:
        yield "Gene biotype", str(name), biotype == name
    yield "Gene biotype", "all others", ~np.isin(biotype, common)
    protein = np.array([bool(item) for item in test.protein])
    yield "Modalities", "DNA + RNA + protein", protein
    yield "Modalities", "DNA + RNA", ~protein
    length = np.array([len(item) for item in test.rna])
    yield from _quartiles("RNA length", length, "nt", ",.0f")
    level = test.labels.mean(axis=1, dtype=np.float64)
    yield from _quartiles("Observed expression, mean over tissues", level, "log1p TPM", ".2f")
    edges = (0.0, *HOMOLOGY_EDGES, 1.0)
    for low, high in itertools.pairwise(edges):
        last = high == edges[-1]
        rows = (homology >= low) & ((homology <= high) if last else (homology < high))
        yield "Homology to training (shared words)", f"{low:.0%} to {high:.0%}", rows


def _quartiles(partition: str, values: np.ndarray, unit: str, style: str) -> Iterator[tuple[str, str, np.ndarray]]:
    edges = np.unique(np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))
    if len(edges) == 1:
        yield partition, f"{edges[0]:{style}} {unit}", np.ones(len(values), dtype=bool)
        return
    which = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    for bin_, (low, high) in enumerate(itertools.pairwise(edges)):
        yield partition, f"{low:{style}} to {high:{style}} {unit}", which == bin_


def score_strata(scorer: Scorer, strata: list[Stratum], predicted: np.ndarray) -> list[StratumScore]:
    """Score predictions (N, T) within each stratum, on the scorer's resampled genes."""
    return [_score(scorer, stratum, predicted) for stratum in strata]


def _score(scorer: Scorer, stratum: Stratum, predicted: np.ndarray) -> StratumScore:
    rows = np.flatnonzero(stratum.rows)
    observed, guess = scorer.observed[rows], predicted[rows]
    gene = scorer.groups.gene[rows]
    groups = GeneGroups.of([scorer.groups.names[number] for number in gene])
    present = np.unique(gene)  # ascending, as the names of groups are
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    if len(rows) < MIN_TRANSCRIPTS:
        return StratumScore(stratum.partition, stratum.name, len(rows), len(present), nothing, nothing, nothing)
    counts = scorer.counts[:, present]
    # A resample may hold no gene of a small stratum.
    counts = counts[counts.sum(axis=1) > 0]
    rank_counts = counts[: scorer.rank_resamples]
    r2 = defined_mean(r2_per_tissue(observed, guess))
    residual = (guess.astype(np.float64) - observed).mean(axis=1)
    weight = counts.astype(np.float64)
    bias = divided(weight @ groups.sums(residual), weight @ groups.sizes)
    varies = np.ptp(observed, axis=0) > 0
    spearman = skill(spearman_per_tissue(observed, guess)[varies])
    spearman_draws = skill(spearman_samples(rank_counts, groups, observed, guess)[:, varies])
    return StratumScore(
        partition=stratum.partition,
        name=stratum.name,
        transcripts=len(rows),
        genes=len(present),
        r2=scorer.interval(float(r2), defined_mean(r2_samples(counts, groups, observed, guess), axis=1)),
        spearman=scorer.interval(float(defined_mean(spearman)), defined_mean(spearman_draws, axis=1)),
        bias=scorer.interval(float(residual.mean()), bias),
    )
