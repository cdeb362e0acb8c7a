"""How much a transcript shares with those of the training split, by words of its RNA and its protein.

N transcripts asked about, M of training. Similarity: distinct words in common over those of the shorter of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from components.evaluate_model.examples import Examples
from components.evaluate_model.metrics import defined_mean, r2_per_tissue
from model.tokenizers import DNA_CODE_N, dna_codes

if TYPE_CHECKING:
    from scipy.sparse import csr_array

WORD_NUCLEOTIDES = 14  # chance words are rare: 4^14 is more than all spliced RNA
WORD_RESIDUES = 5
# A word of more training transcripts than this (repeats, low complexity) says little of descent, and costs much.
MAX_TRANSCRIPTS_PER_WORD = 300
# Long RNAs keep one in this many of their words, the same in all: enough for a share, at a fraction of the memory.
SKETCH = 8
NEIGHBOURS = 5
ROWS_AT_ONCE = 512
# Weight of the tissue mean beside a neighbour of similarity 1.
PRIORS = (0.01, 0.1, 1.0, 10.0)
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Neighbours:
    """The most similar training transcripts: `row` int64 (N, K), `similarity` float64 (N, K), descending; 0 = none."""

    row: np.ndarray
    similarity: np.ndarray

    @property
    def homology(self) -> np.ndarray:
        """Similarity to the nearest training transcript, 0 to 1: float64 (N,)."""
        return self.similarity[:, 0]

    def predict(self, labels: np.ndarray, prior: float) -> np.ndarray:
        """Mean of the neighbours' labels (M, T) by similarity, drawn to the tissue means: float32 (N, T)."""
        mean = labels.mean(axis=0, dtype=np.float64)
        weight = self.similarity[:, :, None]
        summed = (weight * (labels[self.row] - mean)).sum(axis=1)
        return np.asarray(mean + summed / (weight.sum(axis=1) + prior), dtype=np.float32)


def nearest_neighbour(train: Examples, valid: Examples, test: Examples) -> tuple[np.ndarray, Neighbours, float]:
    """The baseline that copies the labels of the most similar training transcripts; valid chooses the prior.

    Returns its predictions float32 (N, T) for `test`, the neighbours of `test`, and the prior.
    """
    known = _Library(train)
    of_valid, of_test = known.nearest(valid), known.nearest(test)
    scores = [
        float(np.nan_to_num(defined_mean(r2_per_tissue(valid.labels, of_valid.predict(train.labels, prior)))))
        for prior in PRIORS
    ]
    prior = PRIORS[int(np.argmax(scores))]
    return of_test.predict(train.labels, prior), of_test, prior


class _Library:
    """The words of the training transcripts."""

    def __init__(self, train: Examples) -> None:
        self.size = len(train)
        self.tables = [_Table(words, self.size) for words in _words_of(train)]

    def nearest(self, examples: Examples) -> Neighbours:
        """The most similar training transcripts of each of `examples`; RNA or protein, whichever is more alike."""
        count = min(NEIGHBOURS, self.size)
        rows = np.zeros((len(examples), count), dtype=np.int64)
        similarity = np.zeros((len(examples), count))
        words = _words_of(examples)
        for start in range(0, len(examples), ROWS_AT_ONCE):
            stop = min(start + ROWS_AT_ONCE, len(examples))
            rna, protein = (table.similarity(one[start:stop]) for table, one in zip(self.tables, words, strict=True))
            alike = rna.maximum(protein).tocsr()
            for row in range(stop - start):
                begin, end = alike.indptr[row], alike.indptr[row + 1]
                values, columns = alike.data[begin:end], alike.indices[begin:end]
                # By similarity, then by place: equal ones in one order everywhere.
                best = np.lexsort((columns, -values))[:count]
                rows[start + row, : len(best)] = columns[best]
                similarity[start + row, : len(best)] = values[best]
        return Neighbours(rows, similarity)


class _Table:
    """Which training transcript has which word."""

    def __init__(self, words: list[np.ndarray], size: int) -> None:
        sizes = np.array([len(item) for item in words], dtype=np.int64)
        joined = np.concatenate([*words, np.empty(0, dtype=np.uint64)])
        self.sizes = sizes
        self.vocabulary, column, count = np.unique(joined, return_inverse=True, return_counts=True)
        row = np.repeat(np.arange(size), sizes)
        kept = count[column] <= MAX_TRANSCRIPTS_PER_WORD
        self.transposed = _counts(column[kept], row[kept], (max(1, len(self.vocabulary)), size))

    def similarity(self, words: list[np.ndarray]) -> csr_array:
        """Similarities float64 (rows, M) of transcripts with these words."""
        sizes = np.array([len(item) for item in words], dtype=np.int64)
        joined = np.concatenate([*words, np.empty(0, dtype=np.uint64)])
        column = np.searchsorted(self.vocabulary, joined)
        known = column < len(self.vocabulary)
        known[known] = self.vocabulary[column[known]] == joined[known]
        row = np.repeat(np.arange(len(words)), sizes)
        shape = (len(words), self.transposed.shape[0])
        shared = (_counts(row[known], column[known], shape) @ self.transposed).tocoo()
        smaller = np.minimum(sizes[shared.row], self.sizes[shared.col])
        shared.data = shared.data / np.maximum(smaller, 1)
        return shared.tocsr()


def _counts(row: np.ndarray, column: np.ndarray, shape: tuple[int, int]) -> csr_array:
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(row), dtype=np.float64), (row, column)), shape=shape)


def _words_of(examples: Examples) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Distinct words of each RNA (sketched) and each protein, uint64."""
    rna = [_sketched(_words(dna_codes(item), WORD_NUCLEOTIDES, DNA_CODE_N)) for item in examples.rna]
    protein = [_words(_residues(item), WORD_RESIDUES, 32) for item in examples.protein]
    return rna, protein


def _residues(protein: str) -> np.ndarray:
    letters = np.frombuffer(protein.encode("ascii", "replace"), dtype=np.uint8)
    known = (letters >= ord("A")) & (letters <= ord("Z")) & (letters != ord("X"))
    return np.where(known, letters - ord("A"), 32).astype(np.uint8)


def _words(codes: np.ndarray, length: int, unknown: int) -> np.ndarray:
    """Distinct words of `length` letters, those with a code of at least `unknown` left out: uint64, ascending."""
    if len(codes) < length:
        return np.empty(0, dtype=np.uint64)
    count = len(codes) - length + 1
    value = np.zeros(count, dtype=np.uint64)
    known = np.ones(count, dtype=bool)
    for offset in range(length):
        letter = codes[offset : offset + count]
        known &= letter < unknown
        value = value * np.uint64(unknown) + letter
    return np.unique(value[known])


def _sketched(words: np.ndarray) -> np.ndarray:
    """The same share of words of every sequence, chosen by a hash of the word; all of them where they are few."""
    if len(words) < SKETCH * 64:
        return words
    hashed = (words * _ODD) >> np.uint64(40)
    return words[hashed % np.uint64(SKETCH) == 0]
