"""Masked language modelling (Devlin et al. 2019): which tokens are to be guessed, and what stands in their place."""

from __future__ import annotations

import numpy as np

from model.tokenizers import ESM_CLS, ESM_EOS, ESM_MASK, SIXMER_CLS, SIXMER_FIRST, SIXMER_MASK, SIXMER_VOCABULARY

HIDDEN_SHARE, REPLACED_SHARE = 0.8, 0.1
NOT_ASKED = -100
_FIRST_RESIDUE, _RESIDUES = 4, 20


def masked(
    tokens: np.ndarray, alphabet: str, rate: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (T,) as the encoder sees them, and what is to be guessed: labels (T,), `NOT_ASKED` elsewhere.

    CLS and EOS are never asked for; at least one token is.
    """
    special = (SIXMER_CLS,) if alphabet == "sixmer" else (ESM_CLS, ESM_EOS)
    free = np.flatnonzero(~np.isin(tokens, special))
    asked = free[generator.random(len(free)) < rate]
    if not len(asked) and len(free):
        asked = free[generator.integers(len(free), size=1)]
    labels = np.full(len(tokens), NOT_ASKED, dtype=np.int64)
    labels[asked] = tokens[asked]
    fate = generator.random(len(asked))
    seen = tokens.copy()
    seen[asked[fate < HIDDEN_SHARE]] = SIXMER_MASK if alphabet == "sixmer" else ESM_MASK
    replaced = asked[(fate >= HIDDEN_SHARE) & (fate < HIDDEN_SHARE + REPLACED_SHARE)]
    first, last = (
        (SIXMER_FIRST, SIXMER_VOCABULARY) if alphabet == "sixmer" else (_FIRST_RESIDUE, _FIRST_RESIDUE + _RESIDUES)
    )
    seen[replaced] = generator.integers(first, last, size=len(replaced))
    return seen, labels
