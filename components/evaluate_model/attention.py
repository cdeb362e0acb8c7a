"""How much of the RNA encoder's attention falls on 5'UTR, CDS and 3'UTR, per layer and head, after training and before.

L layers, H heads, S tokens, E = 3 elements, G genes. Rules:

- Only transcripts with a CDS count. The attention that a token receives is averaged over all queries.
- CLS belongs to no element: it counts neither in the attention nor among the tokens, and shares add up to 1 without it.
- A six-mer that straddles a border counts for each element by its nucleotides in it.
- Of a cropped RNA, whose 5' end is not read, only what is read counts; an element of which nothing is read is not
  defined for that transcript.

Source: the paper's figure 3, right; its formula is not published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.evaluate_model.metrics import GeneGroups, defined_mean, divided
from components.evaluate_model.paired import holm
from components.evaluate_model.scores import number_json
from model.tokenizers import SIXMER_CLS, SIXMER_FIRST, SIXMER_SINGLE

ELEMENTS = ("5'UTR", "CDS", "3'UTR")
MIN_GENES = 5


@dataclass(frozen=True)
class AttentionTest:
    """One layer, head and element: mean shares of attention over genes, and the paired test of their difference.

    `tokens`: the element's share of tokens, what evenly spread attention would give. `effect`: Cohen's d of paired
    differences (mean / sd). `p`: of a two-sided paired t-test, Holm-corrected over all layers, heads and elements.
    """

    layer: int
    head: int
    element: str
    genes: int
    before: float
    after: float
    tokens: float
    effect: float
    p: float


@dataclass(frozen=True)
class AttentionTable:
    """All tests; `before` says in words what the model is compared with."""

    before: str
    transcripts: int
    tests: tuple[AttentionTest, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "before": self.before,
            "transcripts": self.transcripts,
            "tests": [
                {
                    "layer": item.layer,
                    "head": item.head,
                    "element": item.element,
                    "genes": item.genes,
                    **{name: number_json(getattr(item, name)) for name in ("before", "after", "tokens", "effect", "p")},
                }
                for item in self.tests
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AttentionTable:
        """Read what `to_json` wrote; null is NaN."""
        tests: list[dict[str, Any]] = [
            {key: float("nan") if value is None else value for key, value in item.items()} for item in data["tests"]
        ]
        return cls(data["before"], data["transcripts"], tuple(AttentionTest(**item) for item in tests))


def element_weights(tokens: np.ndarray, length: int, cds_start: int, cds_end: int) -> np.ndarray:
    """Share of each token's nucleotides in each element: float64 (S, 3); zeros for CLS.

    `tokens`: six-mer ids int32 (S,) of the last nucleotides of an RNA of `length`; `cds_start`, `cds_end` count from
    its own 5' end.
    """
    width = np.where(tokens == SIXMER_CLS, 0, np.where(tokens >= min(SIXMER_SINGLE.values()), 1, 6))
    width = np.where((tokens < SIXMER_FIRST) & (tokens != SIXMER_CLS), 1, width)
    end = np.cumsum(width) + (length - int(width.sum()))
    start = end - width
    borders = np.array([0, cds_start, cds_end, length])
    inside = np.minimum(end[:, None], borders[1:]) - np.maximum(start[:, None], borders[:-1])
    return np.maximum(inside, 0) / np.maximum(width, 1)[:, None]


def element_shares(received: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of the attention on nucleotides that each element gets: float64 (L, H, E) of received (L, H, S).

    NaN for an element without nucleotides among the tokens.
    """
    on_element = received.astype(np.float64) @ weights
    shares = divided(on_element, on_element.sum(axis=-1, keepdims=True))
    return np.where(weights.sum(axis=0) > 0, shares, np.nan)


def token_shares(weights: np.ndarray) -> np.ndarray:
    """Share of nucleotide tokens that each element has: float64 (E,); NaN where it has none."""
    held = weights.sum(axis=0)
    return np.where(held > 0, divided(held, held.sum()), np.nan)


def attention_tests(
    before: np.ndarray, after: np.ndarray, tokens: np.ndarray, groups: GeneGroups
) -> tuple[AttentionTest, ...]:
    """Paired tests over genes of shares (N, L, H, E) before and after, and token shares (N, E).

    A gene's transcripts are averaged first: genes are the units.
    """
    first, second, expected = (_gene_means(values, groups) for values in (before, after, tokens))
    _, layers, heads, _ = first.shape
    places = [
        (layer, head, element) for layer in range(layers) for head in range(heads) for element in range(len(ELEMENTS))
    ]
    raw = [_paired(first[:, layer, head, element], second[:, layer, head, element]) for layer, head, element in places]
    corrected = holm(np.array([p for *_, p in raw]))
    return tuple(
        AttentionTest(
            layer=layer,
            head=head,
            element=ELEMENTS[element],
            genes=genes,
            before=float(defined_mean(first[:, layer, head, element])),
            after=float(defined_mean(second[:, layer, head, element])),
            tokens=float(defined_mean(expected[:, element])),
            effect=effect,
            p=float(p),
        )
        for (layer, head, element), (genes, effect, _), p in zip(places, raw, corrected, strict=True)
    )


def _gene_means(values: np.ndarray, groups: GeneGroups) -> np.ndarray:
    """Means over each gene's transcripts of what is defined: (N, ...) → (G, ...)."""
    known = (~np.isnan(values)).astype(np.float64)
    return divided(groups.sums(np.nan_to_num(values)), groups.sums(known))


def _paired(before: np.ndarray, after: np.ndarray) -> tuple[int, float, float]:
    """Genes, Cohen's d and p of the paired differences (G,); NaN where there are too few genes."""
    from scipy.stats import ttest_1samp

    difference = (after - before)[~np.isnan(after - before)]
    count = len(difference)
    if count < MIN_GENES:
        return count, float("nan"), float("nan")
    spread = difference.std(ddof=1)
    if spread <= 1e-9:  # rounding: the same attention in both
        return count, 0.0, 1.0
    return count, float(difference.mean() / spread), float(ttest_1samp(difference, 0.0).pvalue)
