"""What the paper reports (arXiv 2406.14150): mean ± sd of five seeds over 30 tissues. Absent = not published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DnaEncoder = Literal["enformer", "nucleotide-transformer"]


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published row; a figure or deviation that the paper does not give is None."""

    r2: float | None = None
    r2_sd: float | None = None
    spearman: float | None = None
    spearman_sd: float | None = None


_BEST = Published(r2=0.53, r2_sd=0.01, spearman=0.72, spearman_sd=0.0)
_BEST_WITH_NT = Published(r2=0.43, r2_sd=0.01, spearman=0.65, spearman_sd=0.01)
# These do not depend on the DNA encoder.
_WITHOUT_DNA = {
    "rna": Published(r2=0.36, r2_sd=0.03, spearman=0.61, spearman_sd=0.01),
    "protein": Published(r2=0.20, r2_sd=0.01, spearman=0.46, spearman_sd=0.01),
}
_MODALITIES: dict[DnaEncoder, dict[str, Published]] = {
    "nucleotide-transformer": {
        "dna": Published(r2=0.13, r2_sd=0.02, spearman=0.43, spearman_sd=0.01),
        "dna+protein": Published(r2=0.28, r2_sd=0.01, spearman=0.52, spearman_sd=0.01),
        "dna+rna": Published(r2=0.39, r2_sd=0.01, spearman=0.64, spearman_sd=0.01),
        "dna+rna+protein": _BEST_WITH_NT,
        **_WITHOUT_DNA,
    },
    "enformer": {"dna+rna+protein": _BEST, **_WITHOUT_DNA},
}
_OTHERS: dict[str, dict[str, Published]] = {
    "dna-encoder": {"enformer": _BEST, "nucleotide-transformer": _BEST_WITH_NT},
    "pre-training": {
        "dna+rna+protein": Published(r2=0.53, spearman=0.71),
        "rna+protein": Published(r2=0.41),
        "dna+protein": Published(r2=0.48),
        "none": Published(r2=0.10, spearman=0.31),
    },
}
# What the paper says in words and not in figures.
REMARKS = {
    "aggregation": (
        "The paper gives no figures: cross-attention best, C-Abstractor level with it, Perceiver Resampler and "
        "Resampler + linear below."
    ),
    "modalities": "Published rows are of 30 GTEx tissues with pre-trained encoders of 150 to 250 million parameters.",
}


def published_row(suite: str, configuration: str, dna_encoder: DnaEncoder) -> Published | None:
    """The paper's row for a configuration of a suite; None where it has none."""
    rows = _MODALITIES[dna_encoder] if suite == "modalities" else _OTHERS.get(suite, {})
    return rows.get(configuration)
