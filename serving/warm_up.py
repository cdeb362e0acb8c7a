"""Choosing the token budget of a batch by measurement, on transcripts like those that the model was trained on.

A GPU wants large batches. On a CPU padding and memory traffic can make a batch slower than its transcripts one by one,
so the answer depends on model and machine, and is measured at every start.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from model.batch import TranscriptInput
from model.config import IsoFormerConfig
from model.predictor import BASES_PER_SIXMER, window_tokens
from serving.backends import Memory
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
# Of what memory is free: requests, their queue and the kept states need some too.
_MEMORY_SHARE = 0.5
_DEADLINE_SHARE = 0.5
_HOST = Memory()
_log = logging.getLogger(LOGGER)


def measure_safe_budget(
    run: Callable[[Sequence[TranscriptInput], int], Any],
    config: IsoFormerConfig,
    deadline_s: float,
    memory: Memory = _HOST,
) -> int:
    """The largest budget in tokens whose worst batch is safe: it fits the device's memory, and half the deadline.

    The worst batch is the longest transcript that the model reads, as often as the budget allows: attention grows with
    the square of lengths. One such transcript is run and measured, the rest follows, so nothing is risked.
    """
    longest = longest_transcript(config)
    started = time.monotonic()
    grown = memory.peak_growth_bytes(lambda: run([longest], ALONE))
    seconds = time.monotonic() - started
    free = memory.available_bytes()
    by_memory = math.inf if free is None or not grown else _MEMORY_SHARE * free / grown
    by_time = _DEADLINE_SHARE * deadline_s / max(seconds, 1e-6)
    times = min(by_memory, by_time)
    facts = {"longest_s": round(seconds, 3), "longest_mib": round(grown / 2**20), "times": round(min(times, 1e6), 1)}
    if times < 1:
        _log.warning("the longest transcript alone is more than this machine does safely", extra=facts)
    else:
        _log.info("measured the longest transcript", extra=facts)
    return max(ALONE, min(int(times), 1_000_000) * largest_tokens(config))


def measure_budget(
    run: Callable[[Sequence[TranscriptInput], int], Any],
    config: IsoFormerConfig,
    profile: Profile | None,
    safe_tokens: int = CANDIDATES[-1],
) -> int:
    """The smallest budget in tokens that is within 5 % of the fastest; `run` predicts transcripts with a budget.

    Larger budgets are tried only while they still help, time is left, and they are at most `safe_tokens`.
    """
    transcripts = typical_transcripts(config, profile)
    end = time.monotonic() + _LIMIT_S
    run(transcripts[:1], ALONE)
    best, fastest = ALONE, float("inf")
    for budget in CANDIDATES:
        started = time.monotonic()
        if started > end or budget > max(safe_tokens, ALONE):
            break
        try:
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


def largest_tokens(config: IsoFormerConfig) -> int:
    """Tokens of the largest transcript that the model reads."""
    return window_tokens(config) + sum(tower.max_tokens for tower in (config.rna, config.protein) if tower)


def longest_transcript(config: IsoFormerConfig) -> TranscriptInput:
    """One that fills every tower."""
    rng = np.random.default_rng(0)
    dna = rng.integers(0, 4, config.window_bp).astype(np.uint8) if config.dna else None
    rna = _letters("ACGT", BASES_PER_SIXMER * config.rna.max_tokens, rng) if config.rna else None
    protein = _letters("ACDEFGHIKLMNPQRSTVWY", config.protein.max_tokens, rng) if config.protein else None
    return TranscriptInput(dna=dna, rna=rna, protein=protein)


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
