"""Choosing the token budget of a batch by measurement, on transcripts like those that the model was trained on.

A GPU wants large batches. On a CPU padding and memory traffic can make a batch slower than its transcripts one by one,
so the answer depends on model and machine, and is measured at every start.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from model.batch import TranscriptInput
from model.config import IsoFormerConfig
from serving.logs import LOGGER
from serving.profile import Profile

# Every transcript alone.
ALONE = 1
CANDIDATES = (ALONE, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768)
_TRANSCRIPTS = 16
# A larger batch keeps its first transcript waiting for its last: it must pay.
_WORTH = 1.05
# Seconds for all of it; a model that takes longer than this gains nothing from merging small requests either.
_LIMIT_S = 10.0
_log = logging.getLogger(LOGGER)


def measure_budget(
    run: Callable[[Sequence[TranscriptInput], int], Any], config: IsoFormerConfig, profile: Profile | None
) -> int:
    """The smallest budget in tokens that is within 5 % of the fastest; `run` predicts transcripts with a budget.

    Larger budgets are tried only while they still help and time is left, so that the largest tried is a safe one.
    """
    transcripts = typical_transcripts(config, profile)
    end = time.monotonic() + _LIMIT_S
    run(transcripts[:1], ALONE)
    best, fastest = ALONE, float("inf")
    for budget in CANDIDATES:
        started = time.monotonic()
        if started > end:
            break
        try:
            # The middle ones first: if they alone take too long, no more is asked.
            run(transcripts, budget)
        except MemoryError:
            break
        seconds = time.monotonic() - started
        if seconds * _WORTH < fastest:
            best, fastest = budget, seconds
        elif seconds > 1.5 * fastest:
            break
    _log.info("warmed up", extra={"budget_tokens": best, "transcripts_per_s": round(len(transcripts) / fastest, 1)})
    return best


def typical_transcripts(config: IsoFormerConfig, profile: Profile | None, seed: int = 0) -> list[TranscriptInput]:
    """Random transcripts of the training transcripts' lengths, two and two with one DNA window, in random order."""
    rng = np.random.default_rng(seed)
    rna_nt = _spread(profile, "rna_nt", default=1_500)
    residues = _spread(profile, "protein_residues", default=300)
    windows = rng.integers(0, 4, (_TRANSCRIPTS // 2, config.window_bp if config.dna else 0)).astype(np.uint8)
    rows = [
        TranscriptInput(
            dna=windows[row // 2] if config.dna else None,
            rna=_letters("ACGT", rna_nt[row], rng) if config.rna else None,
            protein=_letters("ACDEFGHIKLMNPQRSTVWY", residues[row], rng) if config.protein else None,
        )
        for row in range(_TRANSCRIPTS)
    ]
    return [rows[row] for row in rng.permutation(_TRANSCRIPTS)]


def _spread(profile: Profile | None, name: str, default: int) -> np.ndarray:
    """Lengths (transcripts,) over the training quantiles, from the shortest decile to the longest."""
    edges = profile.features.get(name, {}).get("edges") if profile else None
    quantiles = np.array(edges or [default], dtype=np.float64)
    places = np.linspace(0, len(quantiles) - 1, _TRANSCRIPTS)
    return np.maximum(np.interp(places, np.arange(len(quantiles)), quantiles), 1).astype(int)


def _letters(alphabet: str, length: int, rng: np.random.Generator) -> str:
    return "".join(rng.choice(list(alphabet), length))
