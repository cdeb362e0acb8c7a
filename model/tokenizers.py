"""Tokenisers of the three encoders, vectorised with numpy.

DNA codes (Enformer): A0 C1 G2 T3, everything else 4 (N).
Six-mers (Nucleotide Transformer v2): the published vocabulary of 4,107 entries, CLS first, no EOS.
ESM-2: the published alphabet of 33 entries, CLS and EOS kept.
"""

from __future__ import annotations

import itertools

import numpy as np

DNA_CODE_N = 4

SIXMER_UNK, SIXMER_PAD, SIXMER_MASK, SIXMER_CLS, SIXMER_EOS, SIXMER_BOS = range(6)
SIXMER_FIRST = 6
SIXMER_SINGLE = {"A": 4102, "T": 4103, "C": 4104, "G": 4105, "N": 4106}
SIXMER_VOCABULARY = 4107

ESM_ALPHABET = (
    *("<cls>", "<pad>", "<eos>", "<unk>"),
    *"LAGVSERTIDPKQNFYMHWC",
    *("X", "B", "U", "Z", "O", ".", "-", "<null_1>", "<mask>"),
)
ESM_CLS, ESM_PAD, ESM_EOS, ESM_UNK = range(4)
ESM_MASK = 32
ESM_VOCABULARY = len(ESM_ALPHABET)

_DNA_CODES = np.full(256, DNA_CODE_N, dtype=np.uint8)
for _code, _base in enumerate("ACGT"):
    _DNA_CODES[ord(_base)] = _DNA_CODES[ord(_base.lower())] = _code
_DNA_CODES[ord("U")] = _DNA_CODES[ord("u")] = 3

# Digits of a six-mer run in the order A, T, C, G (the published product order).
_SIXMER_DIGIT = np.array([0, 2, 3, 1, 4], dtype=np.int64)  # indexed by DNA code A0 C1 G2 T3 N4
_SIXMER_SINGLE_ID = np.array([4102, 4104, 4105, 4103, 4106], dtype=np.int32)  # likewise
_SIXMER_WEIGHTS = 4 ** np.arange(5, -1, -1, dtype=np.int64)

_ESM_IDS = np.full(256, ESM_UNK, dtype=np.int32)
for _index, _residue in enumerate(ESM_ALPHABET):
    if len(_residue) == 1:
        _ESM_IDS[ord(_residue)] = _ESM_IDS[ord(_residue.lower())] = _index


def dna_codes(sequence: str) -> np.ndarray:
    """Codes of a DNA or RNA string: uint8 (L,), A0 C1 G2 T/U3, all other letters 4."""
    return _DNA_CODES[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]


def dna_string(codes: np.ndarray) -> str:
    """The inverse of `dna_codes`: letters A, C, G, T, N for codes (L,)."""
    return np.frombuffer(b"ACGTN", dtype=np.uint8)[codes].tobytes().decode("ascii")


def sixmer_vocabulary() -> tuple[str, ...]:
    """The 4,107 tokens of Nucleotide Transformer v2, by id."""
    sixmers = ("".join(letters) for letters in itertools.product("ATCG", repeat=6))
    return ("<unk>", "<pad>", "<mask>", "<cls>", "<eos>", "<bos>", *sixmers, "A", "T", "C", "G", "N")


def sixmer_tokens(sequence: str | np.ndarray, *, cls: bool = True) -> np.ndarray:
    """Six-mer token ids, int32 (T,), of a nucleotide string or its DNA codes.

    Greedy from the left, as published: an N breaks the frame and is a token of its own; what is left before an N
    or at the end, shorter than six, becomes single-nucleotide tokens. U is read as T.
    """
    codes = dna_codes(sequence) if isinstance(sequence, str) else np.asarray(sequence, dtype=np.uint8)
    unknown = np.flatnonzero(codes == DNA_CODE_N)
    pieces: list[np.ndarray] = [np.array([SIXMER_CLS], dtype=np.int32)] if cls else []
    start = 0
    for stop in (*unknown.tolist(), len(codes)):
        pieces.extend(_sixmers_of_run(codes[start:stop]))
        if stop < len(codes):
            pieces.append(_SIXMER_SINGLE_ID[DNA_CODE_N : DNA_CODE_N + 1])
        start = stop + 1
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int32)


def _sixmers_of_run(codes: np.ndarray) -> list[np.ndarray]:
    whole = len(codes) - len(codes) % 6
    digits = _SIXMER_DIGIT[codes[:whole]].reshape(-1, 6)
    return [(digits @ _SIXMER_WEIGHTS + SIXMER_FIRST).astype(np.int32), _SIXMER_SINGLE_ID[codes[whole:]]]


def crop_rna(sequence: str, max_tokens: int) -> str:
    """The longest 3' suffix of an RNA that fits `max_tokens` six-mer tokens with CLS (the paper keeps the 3' end)."""
    costs = _suffix_token_counts(dna_codes(sequence)) + 1
    fitting = np.flatnonzero(costs <= max_tokens)
    return sequence[fitting[0] :] if len(fitting) else ""


def _suffix_token_counts(codes: np.ndarray) -> np.ndarray:
    """Six-mer tokens without CLS of each suffix codes[i:], int64 (L,): the count is not monotone in the length."""
    unknown = np.append(np.flatnonzero(codes == DNA_CODE_N), len(codes))
    runs = np.diff(unknown) - 1  # nucleotides between an N and the next N, or the end
    run_costs = 1 + runs // 6 + runs % 6
    after = np.append(np.cumsum(run_costs[::-1])[::-1], 0)  # tokens from each N onwards
    position = np.arange(len(codes))
    next_unknown = np.searchsorted(unknown, position)
    partial = unknown[next_unknown] - position
    return partial // 6 + partial % 6 + after[next_unknown]


def esm_tokens(protein: str, *, max_residues: int | None = None) -> np.ndarray:
    """ESM-2 token ids, int32 (residues + 2,), CLS and EOS included; the N-terminus is kept when cropping.

    Lower case reads as upper case. Each letter outside the alphabet (J, *) is an unknown residue: the published
    tokeniser makes one of a run of them.
    """
    residues = np.frombuffer(protein.encode("ascii", "replace"), dtype=np.uint8)[:max_residues]
    tokens = np.empty(len(residues) + 2, dtype=np.int32)
    tokens[0], tokens[-1] = ESM_CLS, ESM_EOS
    tokens[1:-1] = _ESM_IDS[residues]
    return tokens
