"""The expression of a simulated transcript as a known function of its elements, on the scale of log1p TPM.

signal = sum over modalities of dose * main effects + interaction dose * product of the two doses * pair effects.
An element state counts as present or absent, whatever its copies; each effect has a profile over tissues that is
common to all of them in part and follows a few latent tissue programs in part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from components.fabricate.motifs import FAMILIES, MODALITIES, MOTIFS, STATES, Modality
from components.sections import FabricateParams

# Order and names as in GTEx (SMTS), the order of the published model's outputs.
TISSUES = (
    *("Adipose Tissue", "Adrenal Gland", "Bladder", "Blood", "Blood Vessel", "Brain", "Breast", "Cervix Uteri"),
    *("Colon", "Esophagus", "Fallopian Tube", "Heart", "Kidney", "Liver", "Lung", "Muscle", "Nerve", "Ovary"),
    *("Pancreas", "Pituitary", "Prostate", "Salivary Gland", "Skin", "Small Intestine", "Spleen", "Stomach"),
    *("Testis", "Thyroid", "Uterus", "Vagina"),
)
PROGRAMS = 4
PROGRAM_SHARE = 0.4  # of an effect's variance over tissues and transcripts; the rest is common to all tissues

# Variance (log1p TPM squared) of each modality's main effects and of the interactions, at dose 1.
MAIN_VARIANCE: dict[Modality, float] = {"dna": 0.24, "rna": 0.28, "protein": 0.22}
INTERACTION_VARIANCE = 0.26
# Which elements change the sign of each other's effect: (modality, family) twice.
PAIRS: tuple[tuple[tuple[Modality, int], tuple[Modality, int]], ...] = (
    (("dna", 0), ("rna", 0)),
    (("rna", 1), ("protein", 0)),
    (("dna", 1), ("protein", 1)),
)
_SIGNS = (1.0, -1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Signal:
    """Effects per tissue: `main[modality]` (FAMILIES, T) and `pairs` (pairs, T), doses included; `rate` of presence."""

    main: Mapping[Modality, np.ndarray]
    pairs: np.ndarray
    rate: float

    def table(self) -> np.ndarray:
        """Signal of every combination of states: (STATES dna, STATES rna, STATES protein, T)."""
        contrast = self.contrasts()
        total = np.zeros((STATES, STATES, STATES, self.pairs.shape[1]))
        for axis, modality in enumerate(MODALITIES):
            total += _along(contrast @ self.main[modality], axis)
        for effect, ((first, i), (second, j)) in zip(self.pairs, PAIRS, strict=True):
            left = _along(contrast[:, i, None], MODALITIES.index(first))
            right = _along(contrast[:, j, None], MODALITIES.index(second))
            total += left * right * effect
        return total

    def contrasts(self) -> np.ndarray:
        """Presence of each family in each state, standardised: (STATES, FAMILIES)."""
        present = np.arange(STATES)[:, None] >> np.arange(FAMILIES) & 1
        return (present - self.rate) / np.sqrt(self.rate * (1 - self.rate))


def draw_signal(params: FabricateParams) -> Signal:
    """Draw tissue programs and profiles from the seed; doses scale them and change no draw."""
    rng = np.random.default_rng([params.seed, 3])
    programs = rng.normal(size=(PROGRAMS, len(TISSUES)))
    doses = {"dna": params.dna_dose, "rna": params.rna_dose, "protein": params.protein_dose}
    main = {}
    for modality in MODALITIES:
        size = np.sqrt(MAIN_VARIANCE[modality] / FAMILIES) * doses[modality]
        main[modality] = np.stack([size * _profile(rng, programs, sign) for sign in _SIGNS])
    pairs = []
    for ((first, _), (second, _)), sign in zip(PAIRS, _SIGNS, strict=True):
        # Without its modality an element has no effect of any kind.
        size = np.sqrt(INTERACTION_VARIANCE / len(PAIRS)) * params.interaction_dose * doses[first] * doses[second]
        pairs.append(size * _profile(rng, programs, sign))
    return Signal(main=main, pairs=np.stack(pairs), rate=params.motif_rate)


def expected_table(table: np.ndarray, states: np.ndarray, known: Sequence[Modality]) -> np.ndarray:
    """Mean signal given the states of the `known` modalities only, same axes as `table` with length 1 where unknown.

    The other modalities' states (N, 3) are averaged over all transcripts, as independent ones.
    """
    for axis, modality in enumerate(MODALITIES):
        if modality not in known:
            shares = np.bincount(states[:, axis], minlength=STATES) / len(states)
            table = np.tensordot(shares, np.moveaxis(table, axis, 0), axes=1)
            table = np.expand_dims(table, axis)
    return table


def ceilings(table: np.ndarray, states: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """R² per tissue (T,) of the expected signal of each of the seven modality subsets against labels (N, T).

    Each expectation is shifted to the labels' mean per tissue and not otherwise fitted. The full subset is the noise
    ceiling.
    """
    found = {}
    for size in range(1, len(MODALITIES) + 1):
        for known in combinations(MODALITIES, size):
            means = expected_table(table, states, known)
            columns = [states[:, axis] if means.shape[axis] > 1 else 0 for axis in range(len(MODALITIES))]
            predicted = np.broadcast_to(means[tuple(columns)], labels.shape)
            found["+".join(known)] = r_squared(predicted - predicted.mean(0) + labels.mean(0), labels)
    return found


def r_squared(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1 - SS_res / SS_tot per tissue (T,) of predictions and labels (N, T)."""
    return 1 - ((labels - predicted) ** 2).sum(0) / ((labels - labels.mean(0)) ** 2).sum(0)


def truth_of_signal(signal: Signal) -> dict[str, object]:
    """The effects as JSON data, with the formula that turns states into signal."""
    return {
        "formula": (
            "signal[tissue] = sum of main[element][tissue] * c(element) + sum of pair[tissue] * c(first) * c(second); "
            "c = (present - rate) / sqrt(rate * (1 - rate)); label without noise = tissue_base + signal, at least 0"
        ),
        "rate": signal.rate,
        "main": {
            motif.name: signal.main[modality][family].tolist()
            for modality in MODALITIES
            for family, motif in enumerate(MOTIFS[modality])
        },
        "pairs": [
            {"elements": [MOTIFS[modality][family].name for modality, family in pair], "effect": effect.tolist()}
            for pair, effect in zip(PAIRS, signal.pairs, strict=True)
        ],
    }


def _profile(rng: np.random.Generator, programs: np.ndarray, sign: float) -> np.ndarray:
    """Effect over tissues (T,) of mean square 1: a common part and a mixture of programs."""
    mixture = rng.normal(size=len(programs)) @ programs
    mixture -= mixture.mean()
    mixture /= np.sqrt((mixture**2).mean())
    return sign * np.sqrt(1 - PROGRAM_SHARE) + np.sqrt(PROGRAM_SHARE) * mixture


def _along(values: np.ndarray, axis: int) -> np.ndarray:
    """(STATES, T or 1) values laid along one of the three state axes."""
    shape = [1, 1, 1, values.shape[1]]
    shape[axis] = STATES
    return values.reshape(shape)
