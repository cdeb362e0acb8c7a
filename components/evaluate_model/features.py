"""What simple baselines may know of a transcript: lengths, composition, k-mer counts of its three modalities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from components.evaluate_model.examples import Examples
from model.tokenizers import dna_codes

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
REGIONS = ("rna", "five_prime_utr", "cds", "three_prime_utr")
NUCLEOTIDES = "ACGT"
FEATURE_CHUNK_ROWS = 1024

_AMINO_CODES = np.full(256, len(AMINO_ACIDS), dtype=np.uint8)
for _index, _letter in enumerate(AMINO_ACIDS):
    _AMINO_CODES[ord(_letter)] = _index


def composition_names() -> list[str]:
    """Names of the columns of `composition_features`."""
    return [
        *(f"log1p length of {region}" for region in (*REGIONS, "protein")),
        "log1p exons",
        "has cds",
        *(f"{base} in {region}" for region in (*REGIONS, "dna window") for base in NUCLEOTIDES),
        *(f"{residue} in protein" for residue in AMINO_ACIDS),
    ]


def composition_features(examples: Examples, *, dna_bp: int) -> np.ndarray:
    """Lengths and composition of each transcript: float32 (N, F), F = len(composition_names()).

    DNA composition is that of the central `dna_bp` of the window.
    """
    return np.concatenate([_composition(examples, rows, dna_bp) for rows in examples.chunks(FEATURE_CHUNK_ROWS)])


def _composition(examples: Examples, rows: range, dna_bp: int) -> np.ndarray:
    sequences = [dna_codes(examples.rna[row]) for row in rows]
    begin, end = examples.cds_start[rows.start : rows.stop], examples.cds_end[rows.start : rows.stop]
    coding = begin >= 0
    regions = [
        sequences,
        [codes[:first] if first >= 0 else codes[:0] for codes, first in zip(sequences, begin, strict=True)],
        [
            codes[first:last] if first >= 0 else codes[:0]
            for codes, first, last in zip(sequences, begin, end, strict=True)
        ],
        [codes[last:] if last >= 0 else codes[:0] for codes, last in zip(sequences, end, strict=True)],
    ]
    proteins = [_amino_codes(examples.protein[row]) for row in rows]
    windows = [examples.window(row, central_bp=dna_bp) for row in rows]
    lengths = [_lengths(pieces) for pieces in (*regions, proteins)]
    scalars = [*lengths, examples.exons[rows.start : rows.stop]]
    return np.column_stack(
        [
            *(np.log1p(values) for values in scalars),
            coding,
            *(_fractions(pieces, len(NUCLEOTIDES)) for pieces in (*regions, windows)),
            _fractions(proteins, len(AMINO_ACIDS)),
        ]
    ).astype(np.float32)


def kmer_features(examples: Examples, rows: range, *, nucleotides: int, residues: int, dna_bp: int) -> np.ndarray:
    """log1p counts of RNA and DNA words of `nucleotides` letters and protein words of `residues` letters.

    float32 (rows, 2 · 4^nucleotides + 20^residues + 5): the last columns are log1p lengths of RNA, 5'UTR, CDS, 3'UTR
    and protein. Words with an unknown letter are not counted. DNA is the central `dna_bp` of the window.
    """
    rna = [dna_codes(examples.rna[row]) for row in rows]
    dna = [examples.window(row, central_bp=dna_bp) for row in rows]
    protein = [_amino_codes(examples.protein[row]) for row in rows]
    begin, end = examples.cds_start[rows.start : rows.stop], examples.cds_end[rows.start : rows.stop]
    total = _lengths(rna)
    coding = begin >= 0
    counts = [
        _kmer_counts(rna, len(NUCLEOTIDES), nucleotides),
        _kmer_counts(dna, len(NUCLEOTIDES), nucleotides),
        _kmer_counts(protein, len(AMINO_ACIDS), residues),
        np.column_stack(
            [total, np.where(coding, begin, 0), np.where(coding, end - begin, 0), np.where(coding, total - end, 0)]
        ),
        _lengths(protein)[:, None],
    ]
    return np.log1p(np.concatenate(counts, axis=1, dtype=np.float32))


def _amino_codes(protein: str) -> np.ndarray:
    return _AMINO_CODES[np.frombuffer(protein.encode("ascii", "replace"), dtype=np.uint8)]


def _lengths(pieces: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([len(piece) for piece in pieces], dtype=np.int64)


def _fractions(pieces: Sequence[np.ndarray], letters: int) -> np.ndarray:
    """Share of each known letter in each piece: float64 (rows, letters); 0 for an empty piece."""
    counts = _kmer_counts(pieces, letters, 1)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _kmer_counts(pieces: Sequence[np.ndarray], letters: int, k: int) -> np.ndarray:
    """Counts of words of k letters in each piece of codes; codes ≥ `letters` are unknown: int64 (rows, letters^k)."""
    words = letters**k
    # Unknown letters as separators, so that no word spans two pieces.
    separator = np.full(k, letters, dtype=np.uint8)
    joined = np.concatenate([part for piece in pieces for part in (piece, separator)])
    row = np.repeat(np.arange(len(pieces)), _lengths(pieces) + k)
    stop = len(joined) - k + 1
    word = np.zeros(stop, dtype=np.int64)
    known = np.ones(stop, dtype=bool)
    for offset in range(k):
        letter = joined[offset : offset + stop]
        known &= letter < letters
        word = word * letters + letter
    index = row[:stop][known] * words + word[known]
    return np.bincount(index, minlength=len(pieces) * words).reshape(len(pieces), words)
