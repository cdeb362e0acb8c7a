"""Which letters of one transcript its prediction hangs on: in-silico mutagenesis through the one inference path.

Every base of the DNA window (or of a part of it) and of the RNA is replaced by the three others, every residue of the
protein by alanine (alanine by glycine), one at a time. The effect is the change of log1p TPM. The three sequences are
mutated apart: a variant of the genome that changes all of them at once is another question.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from components.progress import track
from model.batch import TranscriptInput
from model.errors import InputError

if TYPE_CHECKING:
    from model.predictor import Predictor

PREDICTION_CHUNK = 512
NUCLEOTIDES = "ACGT"


@dataclass(frozen=True)
class Mutation:
    """One replaced letter: its modality, 0-based position in that sequence, and the letters."""

    modality: str
    position: int
    reference: str
    alternative: str


@dataclass(frozen=True)
class Effects:
    """`delta`: float32 (M, T), log1p TPM of each mutant less that of the transcript, `predicted` float32 (T,)."""

    mutations: tuple[Mutation, ...]
    delta: np.ndarray
    predicted: np.ndarray

    def strongest(self, modality: str, length: int, tissues: Sequence[int]) -> np.ndarray:
        """The strongest mean effect over `tissues` at each position of a modality: float64 (length,), signed."""
        effect = self.delta[:, list(tissues)].mean(axis=1, dtype=np.float64)
        track_ = np.zeros(length)
        for mutation, value in zip(self.mutations, effect.tolist(), strict=True):
            if mutation.modality == modality and abs(value) > abs(track_[mutation.position]):
                track_[mutation.position] = value
        return track_


def mutate(
    predictor: Predictor, item: TranscriptInput, *, modalities: Sequence[str], dna_bp: int | None = None
) -> Effects:
    """Effects of all single mutations of a transcript in `modalities`; of the central `dna_bp` of its DNA window.

    A modality that the model does not read, or the transcript does not have, is left out; where none is left,
    `InputError`.
    """
    chosen = [name for name in modalities if name in predictor.config.modalities and getattr(item, name) is not None]
    mutations = tuple(mutation for name in chosen for mutation in _mutations(item, name, dna_bp))
    if not mutations:
        raise InputError(
            where="--modality",
            expected=f"a sequence that the model reads ({', '.join(predictor.config.modalities)})",
            found="none of them in this transcript",
            fix="Choose another transcript or modality.",
        )
    predicted = predictor.predict([item]).log1p_tpm[0]
    pieces = []
    with track(len(mutations), "mutate", "mutants") as advance:
        for start in range(0, len(mutations), PREDICTION_CHUNK):
            chunk = mutations[start : start + PREDICTION_CHUNK]
            pieces.append(predictor.predict([_mutant(item, mutation) for mutation in chunk]).log1p_tpm - predicted)
            advance(len(chunk))
    return Effects(mutations, np.concatenate(pieces), predicted)


def _mutations(item: TranscriptInput, name: str, dna_bp: int | None) -> Iterator[Mutation]:
    if name == "dna":
        assert item.dna is not None
        length = len(item.dna)
        width = length if dna_bp is None else min(dna_bp, length)
        first = (length - width) // 2
        letters = ["ACGTN"[code] for code in item.dna.tolist()]
        yield from _substitutions(name, letters, range(first, first + width))
    elif name == "rna":
        assert item.rna is not None
        letters = list(item.rna.upper().replace("U", "T"))
        yield from _substitutions(name, letters, range(len(letters)))
    else:
        assert item.protein is not None
        for position, residue in enumerate(item.protein):
            yield Mutation(name, position, residue, "G" if residue == "A" else "A")


def _substitutions(name: str, letters: list[str], positions: range) -> Iterator[Mutation]:
    for position in positions:
        for alternative in NUCLEOTIDES:
            if letters[position] != alternative and letters[position] in NUCLEOTIDES:
                yield Mutation(name, position, letters[position], alternative)


def _mutant(item: TranscriptInput, mutation: Mutation) -> TranscriptInput:
    if mutation.modality == "dna":
        assert item.dna is not None
        codes = item.dna.copy()
        codes[mutation.position] = NUCLEOTIDES.index(mutation.alternative)
        return dataclasses.replace(item, dna=codes)
    text = getattr(item, mutation.modality)
    changed = text[: mutation.position] + mutation.alternative + text[mutation.position + 1 :]
    return dataclasses.replace(item, **{mutation.modality: changed})
