"""How asked transcripts compare with the training transcripts: signs of one that is unlike them, drift of many.

The population stability index over bins of equal training weight is Σ (asked − trained) · ln(asked / trained) of the
bins' shares; by custom 0.1 is worth a look and 0.25 is a shift. Of n samples of the same population it is about
(bins − 1) / n, so few samples say nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from components.sequences import sequence_features
from model.batch import TranscriptInput
from model.tokenizers import dna_codes
from serving.schema import Note

PREDICTION = "predicted_log1p_tpm"
WINDOW_TRANSCRIPTS = 2_000
MIN_TRANSCRIPTS = 200
_FIELD_OF = {"rna_nt": "rna", "rna_gc": "rna", "rna_unknown": "rna", "protein_residues": "protein"}
_WORDS = {
    "rna_nt": "RNA length (nt)",
    "protein_residues": "protein length (residues)",
    "rna_gc": "GC share of the RNA",
    "dna_gc": "GC share of the DNA window",
    "rna_unknown": "unknown share of the RNA",
    "dna_unknown": "unknown share of the DNA window",
}


def features_of(transcript: TranscriptInput) -> dict[str, float]:
    """Features as `components.sequences.sequence_features` names them."""
    rna = dna_codes(transcript.rna).tobytes() if transcript.rna else None
    return sequence_features(transcript.dna, rna, transcript.protein)


class Profile:
    """The training transcripts' ranges, bins and sets of modalities, from package/profile.json."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.features: dict[str, dict[str, Any]] = dict(record["features"])
        self.central_share = float(record["central_share"])
        self._modalities = {tuple(names) for names in record["modalities"]}

    def signs(self, features: Mapping[str, float], modalities: tuple[str, ...]) -> list[Note]:
        """What of a transcript lies outside the central share of the training transcripts."""
        signs = []
        if self._modalities and modalities not in self._modalities:
            message = f"no training transcript was given as {' + '.join(modalities)} alone"
            signs.append(Note(field="item", code="modalities_unseen", message=message))
        for name, value in features.items():
            trained = self.features.get(name)
            if trained is None or trained["low"] <= value <= trained["high"]:
                continue
            side = "below" if value < trained["low"] else "above"
            message = (
                f"{_WORDS[name]} {value:.4g} is {side} the range of {self.central_share:.1%} of training transcripts "
                f"({trained['low']:.4g} to {trained['high']:.4g})"
            )
            signs.append(Note(field=_FIELD_OF.get(name, "dna"), code=f"{name}_{side}_training", message=message))
        return signs


class Drift:
    """Population stability index of each feature over the last transcripts that were asked."""

    def __init__(self, profile: Profile) -> None:
        self._trained = profile.features
        self._edges = {name: np.array(entry["edges"]) for name, entry in profile.features.items()}
        self._bins: dict[str, deque[int]] = {name: deque(maxlen=WINDOW_TRANSCRIPTS) for name in profile.features}

    def observe(self, features: Mapping[str, float]) -> None:
        """Remember in which bins one transcript falls."""
        for name, value in features.items():
            if name in self._bins:
                self._bins[name].append(int(np.searchsorted(self._edges[name], value, side="right")))

    def indices(self) -> dict[str, float]:
        """PSI by feature, of those with at least `MIN_TRANSCRIPTS` values."""
        return {
            name: stability_index(np.array(self._trained[name]["share"]), np.array(bins))
            for name, bins in self._bins.items()
            if len(bins) >= MIN_TRANSCRIPTS
        }


def stability_index(trained: np.ndarray, bins: np.ndarray) -> float:
    """PSI of asked bin numbers (N,) against trained shares (bins,); empty bins count as half a transcript."""
    asked = np.maximum(np.bincount(bins, minlength=len(trained)), 0.5) / len(bins)
    kept = np.maximum(trained, 0.5 / max(len(bins), 1))
    return float(((asked - kept) * np.log(asked / kept)).sum())
