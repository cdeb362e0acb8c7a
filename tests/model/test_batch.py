"""The packed batch holds each distinct window once, every token once, and no padding."""

import numpy as np
import pytest

from model.batch import TranscriptInput, collate
from model.errors import InputError
from model.presets import preset
from model.tokenizers import dna_codes, esm_tokens, sixmer_tokens

CONFIG = preset("sanity")
WINDOWS = [dna_codes("ACGT" * 128), dna_codes("GGCA" * 128)]


def test_equal_windows_are_stored_once_and_point_to_their_transcripts() -> None:
    batch = collate([TranscriptInput(dna=WINDOWS[i].copy()) for i in (1, 0, 1)], CONFIG)
    assert batch.windows.shape == (2, 512)
    assert batch.window_of_transcript.tolist() == [0, 1, 0]
    assert np.array_equal(batch.windows[1], WINDOWS[0])


def test_tokens_lie_one_behind_the_other_and_absent_modalities_take_none() -> None:
    batch = collate([TranscriptInput(rna="ACGTACGG"), TranscriptInput(rna="ACG", protein="MKV")], CONFIG)
    assert batch.windows.shape == (0, 512)
    assert batch.window_of_transcript.tolist() == [-1, -1]
    assert batch.present.tolist() == [[False, True, False], [False, True, True]]
    assert np.array_equal(batch.rna_tokens[slice(*batch.rna_offsets[:2])], sixmer_tokens("ACGTACGG"))
    assert batch.protein_offsets.tolist() == [0, 0, 5]
    assert np.array_equal(batch.protein_tokens, esm_tokens("MKV"))


def test_a_window_of_another_length_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="dna: expected 512 bp, found 500 bp"):
        collate([TranscriptInput(dna=WINDOWS[0][:500])], CONFIG)


def test_a_transcript_without_any_sequence_is_refused() -> None:
    with pytest.raises(InputError, match="at least one of dna, rna, protein"):
        collate([TranscriptInput(rna="", protein=None)], CONFIG)
