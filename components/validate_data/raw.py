"""The raw files, read once with the readers that extraction uses, as frames to be checked and figures to be drawn.

A file that cannot be read leaves its frames out and is told as a problem, so that one report shows all problems.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from model.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


@dataclass
class RawFrames:
    """Frames by name (see suites.KEYS), and what the report draws.

    `problems`: what made a file unreadable, by input name. `tissue_mean`, `tissue_sd`: log1p of the tissue's mean TPM
    over transcripts, (T,). `rna_bp`: spliced lengths (transcripts,). `isoforms_per_gene`: (genes,). `tpm_sums`:
    (samples,). `matches`: transcripts found in both, in the annotation only, in the expression table only.
    """

    frames: dict[str, pd.DataFrame] = field(default_factory=dict)
    problems: dict[str, InputError] = field(default_factory=dict)
    simulated: bool = False
    tissues: list[str] = field(default_factory=list)
    tissue_mean: np.ndarray = field(default_factory=lambda: np.empty(0))
    tissue_sd: np.ndarray = field(default_factory=lambda: np.empty(0))
    rna_bp: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    isoforms_per_gene: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    tpm_sums: np.ndarray = field(default_factory=lambda: np.empty(0))
    matches: dict[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, str]:
        """What the files hold, in words and figures."""
        counts = {}
        for name, words in (
            ("contigs", "contigs"),
            ("transcripts", "annotated transcripts"),
            ("expression", "transcripts with expression"),
            ("samples", "samples"),
            ("tissues", "tissues"),
        ):
            if name in self.frames:
                counts[words] = f"{len(self.frames[name]):,}"
        if len(self.isoforms_per_gene):
            counts["annotated genes"] = f"{len(self.isoforms_per_gene):,}"
        return counts

    def attempt(self, name: str, read: Callable[[], T]) -> T | None:
        """What `read` returns, or None where the file of that name is bad, which is kept as a problem."""
        try:
            return read()
        except InputError as error:
            self.problems[name] = error
            return None
