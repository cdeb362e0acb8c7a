"""How served transcripts and their predictions differ from what the model was trained on: KS and PSI per figure.

The training side is known by the bins of the packaged profile (edges and shares): KS, the largest distance of the two
distribution functions, is taken at the edges, where both are known, and is a lower bound elsewhere. PSI as in
`serving.profile`: Σ (asked − trained) · ln(asked / trained) over the bins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

PREDICTION = "predicted_log1p_tpm"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One figure: how many values were asked, PSI, the largest distance of the distribution functions, its p-value."""

    name: str
    count: int
    psi: float
    ks: float
    p_value: float
    asked_share: tuple[float, ...]
    trained_share: tuple[float, ...]
    edges: tuple[float, ...]


def compare(values: Mapping[str, np.ndarray], trained: Mapping[str, Mapping[str, Any]], least: int) -> list[Comparison]:
    """Comparisons of the figures that both sides have, with at least `least` asked values, by name.

    `values`: float (N,) each, NaN where a transcript lacks it. `trained`: `features` of package/profile.json.
    """
    found = []
    for name in sorted(values.keys() & trained.keys()):
        asked = values[name][np.isfinite(values[name])]
        if len(asked) >= least:
            found.append(_comparison(name, asked, trained[name]))
    return found


def _comparison(name: str, asked: np.ndarray, trained: Mapping[str, Any]) -> Comparison:
    from scipy.stats import kstwo

    edges, share = np.asarray(trained["edges"], dtype=float), np.asarray(trained["share"], dtype=float)
    counts = np.bincount(np.searchsorted(edges, asked, side="right"), minlength=len(share))
    # Empty bins count as half a transcript: a logarithm of nothing says nothing.
    ours = np.maximum(counts, 0.5) / len(asked)
    theirs = np.maximum(share, 0.5 / len(asked))
    # At the edges both distribution functions are known exactly; the largest distance there bounds KS from below.
    distance = float(np.abs(np.cumsum(counts)[:-1] / len(asked) - np.cumsum(share)[:-1]).max(initial=0.0))
    size = len(asked) * trained["count"] / (len(asked) + trained["count"])
    return Comparison(
        name=name,
        count=len(asked),
        psi=float(((ours - theirs) * np.log(ours / theirs)).sum()),
        ks=distance,
        p_value=float(kstwo.sf(distance, max(round(size), 1))),
        asked_share=tuple((counts / len(asked)).tolist()),
        trained_share=tuple(share.tolist()),
        edges=tuple(edges.tolist()),
    )
