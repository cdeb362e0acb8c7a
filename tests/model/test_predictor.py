"""The one inference path: order, batching and notes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from model.batch import PackedBatch, TranscriptInput, tokenize
from model.config import IsoFormerConfig
from model.errors import InputError
from model.isoformer import IsoFormer
from model.predictor import Predictor, plan_batches, window_tokens
from model.torch_backend import TorchBackend

if TYPE_CHECKING:
    from tests.model.conftest import MakeTranscripts


def test_order_is_restored_and_batches_change_nothing(
    small_config: IsoFormerConfig, make_transcripts: MakeTranscripts
) -> None:
    """Answers come in the order of the questions and do not depend on the budget (fp32, 1e-5)."""
    torch.manual_seed(0)
    backend = TorchBackend(IsoFormer(small_config))
    items = make_transcripts(small_config, 20)
    whole = Predictor(backend, small_config).predict(items).log1p_tpm
    assert whole.shape == (20, 3)
    assert whole.dtype == np.float32
    pieces = Predictor(backend, small_config, budget_tokens=60).predict(items).log1p_tpm
    np.testing.assert_allclose(pieces, whole, atol=1e-5)
    one = Predictor(backend, small_config).predict(items[7:8]).log1p_tpm
    np.testing.assert_allclose(one[0], whole[7], atol=1e-5)


def test_nothing_asked_nothing_answered(small_config: IsoFormerConfig) -> None:
    """An empty list gives (0, tissues) and does not trouble the backend."""

    class Refuses:
        def run(self, batch: PackedBatch) -> np.ndarray:
            raise AssertionError

    found = Predictor(Refuses(), small_config).predict([])
    assert found.log1p_tpm.shape == (0, 3)
    assert found.notes == ()


def test_batches_hold_every_row_once_within_the_budget(
    small_config: IsoFormerConfig, make_transcripts: MakeTranscripts
) -> None:
    """Every transcript is in one batch; none exceeds the budget, a shared window counted once, unless it is alone."""
    items = [tokenize(item, small_config) for item in make_transcripts(small_config, 30)]
    batches = plan_batches(items, small_config, 80)
    assert sorted(row for rows in batches for row in rows) == list(range(30))
    for rows in batches:
        tokens = sum(len(x) for row in rows for x in (items[row].rna, items[row].protein) if x is not None)
        windows = {items[row].dna.tobytes() for row in rows if items[row].dna is not None}
        assert tokens + window_tokens(small_config) * len(windows) <= 80 or len(rows) == 1
    assert any(len(rows) > 1 for rows in batches)


def test_transcripts_of_one_window_stand_together(small_config: IsoFormerConfig) -> None:
    """A window shared by transcripts of different lengths is encoded once where they fit one batch."""
    window = np.zeros(small_config.window_bp, dtype=np.uint8)
    items = [
        tokenize(TranscriptInput(dna=(window + index % 3).astype(np.uint8), rna="ACGTAC" * (1 + index)), small_config)
        for index in range(9)
    ]
    batches = plan_batches(items, small_config, 45)
    holders = [{row % 3 for row in rows} for rows in batches]
    assert sum(map(len, holders)) == 3


def test_notes_say_what_was_changed(small_config: IsoFormerConfig) -> None:
    """Cropping, padding and replaced letters are reported for each sequence; clean input has no notes."""
    dna = np.zeros(small_config.window_bp, dtype=np.uint8)
    ragged = dna.copy()
    ragged[:10] = ragged[60] = 4
    items = [
        TranscriptInput(dna=dna, rna="ACGT", protein="MKV"),
        TranscriptInput(dna=ragged, rna="ACGTNA" * 100, protein="MJ" + "K" * 80),
    ]
    torch.manual_seed(0)
    notes = Predictor(TorchBackend(IsoFormer(small_config)), small_config).predict(items).notes
    assert notes[0] == ()
    assert [(note.field, note.code) for note in notes[1]] == [
        ("dna", "padded"),
        ("dna", "unknown_to_n"),
        ("rna", "cropped"),
        ("rna", "unknown_to_n"),
        ("protein", "cropped"),
        ("protein", "unknown_to_unk"),
    ]
    assert "10 of 128 bp" in notes[1][0].message


def test_unreadable_input_is_refused(small_config: IsoFormerConfig) -> None:
    """A transcript that the model has no encoder for, or a window of the wrong length, is an InputError."""
    model = IsoFormer(replace(small_config, protein=None))
    predictor = Predictor(TorchBackend(model), model.config)
    with pytest.raises(InputError, match="at least one of dna, rna"):
        predictor.predict([TranscriptInput(protein="MKV")])
    with pytest.raises(InputError, match="128 bp"):
        predictor.predict([TranscriptInput(dna=np.zeros(5, dtype=np.uint8))])


def test_inference_needs_no_torch() -> None:
    """Predictor, batch and ONNX backend import where torch, pandas and pyarrow are not installed."""
    code = (
        "import sys\n"
        "for name in ('torch', 'pandas', 'pyarrow', 'onnx', 'safetensors', 'scipy', 'kfp', 'bentoml'):\n"
        "    sys.modules[name] = None\n"
        "import model.predictor, model.onnx_backend, model.batch, model.config, model.presets, model.tokenizers\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_padding_counts_where_the_backend_pads(small_config: IsoFormerConfig) -> None:
    """A long transcript among short ones stands alone: their rectangle would be many times the budget."""
    lengths = [6, 6, 6, 6, 6, 6, 60, 6, 6, 6]
    items = [tokenize(TranscriptInput(rna="A" * nt), small_config) for nt in lengths]
    batches = plan_batches(items, small_config, 40, padded=True)
    assert sorted(row for rows in batches for row in rows) == list(range(10))
    for rows in batches:
        tokens = [len(items[row].rna) for row in rows]  # type: ignore[arg-type]
        assert len(rows) * max(tokens) <= 40 or len(rows) == 1
    real = plan_batches(items, small_config, 40)
    assert max(map(len, real)) > 1
