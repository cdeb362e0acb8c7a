"""The tokenisers give the ids that the published ones give."""

import functools
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import EsmTokenizer

from model.tokenizers import (
    ESM_ALPHABET,
    crop_rna,
    dna_codes,
    dna_string,
    esm_tokens,
    sixmer_tokens,
    sixmer_vocabulary,
)

# vocab.txt of the published ESM-2, in its order.
PUBLISHED_ESM = ("<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>")
NUCLEOTIDES = st.text("ACGTN", max_size=80)


def reference_tokens(sequence: str) -> list[str]:
    """The published greedy rule, letter by letter: a six-mer where six letters without N follow, else one letter."""
    tokens, at = [], 0
    while at < len(sequence):
        word = sequence[at : at + 6]
        if len(word) == 6 and "N" not in word:
            tokens.append(word)
            at += 6
        else:
            tokens.append(word[0])
            at += 1
    return tokens


@given(NUCLEOTIDES)
def test_sixmers_follow_the_published_greedy_rule(sequence: str) -> None:
    vocabulary = sixmer_vocabulary()
    ids = sixmer_tokens(sequence)
    assert vocabulary[ids[0]] == "<cls>"
    assert [vocabulary[i] for i in ids[1:]] == reference_tokens(sequence)


def test_the_vocabulary_has_the_published_order() -> None:
    vocabulary = sixmer_vocabulary()
    assert len(vocabulary) == 4107
    assert vocabulary[:7] == ("<unk>", "<pad>", "<mask>", "<cls>", "<eos>", "<bos>", "AAAAAA")
    assert vocabulary[6:4102] == tuple("".join(word) for word in product("ATCG", repeat=6))
    assert vocabulary[4102:] == ("A", "T", "C", "G", "N")


def test_lower_case_and_uracil_read_as_upper_case_and_thymine() -> None:
    assert np.array_equal(sixmer_tokens("acguacguacgu"), sixmer_tokens("ACGTACGTACGT"))


@given(NUCLEOTIDES, st.integers(1, 12))
def test_rna_keeps_the_longest_three_prime_suffix_that_fits(sequence: str, max_tokens: int) -> None:
    fitting = [s for s in (sequence[i:] for i in range(len(sequence) + 1)) if len(sixmer_tokens(s)) <= max_tokens]
    assert crop_rna(sequence, max_tokens) == max(fitting, key=len)


@pytest.mark.parametrize(("length", "kept"), [(12_282, 12_282), (12_281, 12_277), (13_000, 12_282)])
def test_rna_limits_are_in_tokens_not_nucleotides(length: int, kept: int) -> None:
    # 12,281 nt would be 2,046 six-mers and five single letters, 2,052 tokens with CLS: one letter fits.
    assert len(crop_rna(("ACGTG" * 3000)[:length], 2048)) == kept


def test_protein_tokens_equal_the_esm_vocabulary() -> None:
    residues = "LAGVSERTIDPKQNFYMHWCXBUZO"
    assert [ESM_ALPHABET[i] for i in esm_tokens(residues)] == ["<cls>", *residues, "<eos>"]
    assert list(esm_tokens("MK*")) == [0, 20, 15, 3, 2]
    assert len(esm_tokens("M" * 5000, max_residues=2046)) == 2048


@functools.cache
def published_tokenizer(vocabulary: tuple[str, ...], **options: None) -> EsmTokenizer:
    """`transformers`' tokeniser of ESM-2 and the Nucleotide Transformer, with a vocabulary as their files list it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("\n".join(vocabulary))
        return EsmTokenizer(vocab_file=str(path), **options)


@given(st.text("ACDEFGHIKLMNPQRSTVWY", max_size=60) | st.text("LAGVXBUZOJ*.-", max_size=60))
def test_protein_tokens_equal_those_of_transformers(protein: str) -> None:
    expected = published_tokenizer(PUBLISHED_ESM)(protein)["input_ids"]
    found = esm_tokens(protein).tolist()
    assert len(found) == len(protein) + 2
    # A run of letters outside the alphabet (J, *) is one <unk> to theirs; ours keeps one for each residue.
    assert [token for token, before in zip(found, [-1, *found], strict=False) if (token, before) != (3, 3)] == expected
    assert np.array_equal(esm_tokens(protein.lower()), found), "theirs reads lower case as <unk>"


@given(NUCLEOTIDES)
def test_sixmers_equal_those_of_transformers(sequence: str) -> None:
    """The tokeniser that comes with the published Nucleotide Transformer v2, which adds no EOS."""
    published = published_tokenizer(sixmer_vocabulary(), eos_token=None)
    assert sixmer_tokens(sequence).tolist() == published(sequence)["input_ids"]


@given(NUCLEOTIDES)
def test_dna_codes_round_trip(sequence: str) -> None:
    assert dna_string(dna_codes(sequence)) == sequence
