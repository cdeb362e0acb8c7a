"""The exported graph answers as the network does, and holds no trace of the machine it was made on."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from model.batch import TranscriptInput
from model.config import IsoFormerConfig
from model.errors import InputError
from model.export import export_onnx, parity_report
from model.isoformer import IsoFormer
from model.onnx_backend import OnnxBackend, dna_graph
from model.predictor import Predictor
from model.torch_backend import TorchBackend

if TYPE_CHECKING:
    from tests.model.conftest import MakeTranscripts

TOLERANCE = 1e-5


def export(config: IsoFormerConfig, path: Path) -> IsoFormer:
    torch.manual_seed(0)
    model = IsoFormer(config).eval()
    export_onnx(model, path)
    return model


def test_onnx_equals_torch(small_config: IsoFormerConfig, make_transcripts: MakeTranscripts, tmp_path: Path) -> None:
    """One graph serves every batch size and length, transcripts that lack a modality included, to 1e-5."""
    path = tmp_path / "model.onnx"
    model = export(small_config, path)
    items = make_transcripts(small_config, 11)
    report = parity_report(model, path, items)
    assert set(report["by_case"]) == {"as_given", "without_dna", "without_rna", "without_protein"}
    assert report["max_abs_difference_log1p_tpm"] <= TOLERANCE
    for lonely in (TranscriptInput(rna="A"), TranscriptInput(protein="M"), items[0]):
        assert parity_report(model, path, [lonely])["max_abs_difference_log1p_tpm"] <= TOLERANCE
    answers = [
        Predictor(backend, small_config, budget_tokens=100).predict(items).log1p_tpm
        for backend in (TorchBackend(model), OnnxBackend(path, small_config, threads=1))
    ]
    np.testing.assert_allclose(answers[0], answers[1], atol=TOLERANCE)
    _holds_no_path(path)
    _holds_no_path(dna_graph(path))
    with pytest.raises(InputError, match="inputs"):
        OnnxBackend(path, replace(small_config, protein=None))
    _kept_windows_change_nothing(path, small_config, items)


def _kept_windows_change_nothing(path: Path, config: IsoFormerConfig, items: list[TranscriptInput]) -> None:
    """With a cache the same answers, and no window is encoded twice; one that holds two windows keeps the last two."""
    plain = Predictor(OnnxBackend(path, config, threads=1), config, budget_tokens=100).predict(items).log1p_tpm
    backend = OnnxBackend(path, config, threads=1, cache_bytes=10**9)
    for _ in range(2):
        again = Predictor(backend, config, budget_tokens=100).predict(items).log1p_tpm
        np.testing.assert_allclose(again, plain, atol=TOLERANCE)
    distinct = {item.dna.tobytes() for item in items if item.dna is not None}
    assert len(backend.cache) - len(distinct) in (0, 1), "one blank window for transcripts without DNA"
    assert backend.cache.misses == len(backend.cache)
    assert backend.cache.hits > len(distinct)
    one = backend.cache.bytes // len(backend.cache)
    small = OnnxBackend(path, config, threads=1, cache_bytes=2 * one)
    answers = Predictor(small, config, budget_tokens=100).predict(items).log1p_tpm
    np.testing.assert_allclose(answers, plain, atol=TOLERANCE)
    assert len(small.cache) == 2
    assert small.cache.bytes <= 2 * one


def _holds_no_path(path: Path) -> None:
    content = path.read_bytes()
    assert not re.search(rb"\.py\b|site-packages|/home|/work|/tmp|Traceback|torch", content)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"dna": None},
        {"rna": None, "protein": None},
        {"fusion": "concatenation"},
        {"fusion": "perceiver"},
        {"fusion": "resampler_linear"},
        {"fusion": "c_abstractor"},
        {"fusion": "dna_specials"},
        {"dna": "tokens"},
    ],
    ids=str,
)
def test_onnx_equals_torch_for_other_models(
    small_config: IsoFormerConfig, make_transcripts: MakeTranscripts, tmp_path: Path, change: dict[str, object]
) -> None:
    """Subsets of encoders, other fusions and a token encoder for DNA export as faithfully."""
    fusion = small_config.fusion
    values: dict[str, object] = {
        "concatenation": replace(fusion, kind="concatenation", absent_slot="learned"),
        "perceiver": replace(fusion, kind="perceiver_resampler", latents=5),
        "resampler_linear": replace(fusion, kind="resampler_linear", latents=5),
        "c_abstractor": replace(fusion, kind="c_abstractor", latents=5),
        "dna_specials": replace(fusion, targets=("dna",), absent="specials"),
        "tokens": small_config.rna,
    }
    config = replace(small_config, **{key: values.get(str(value), value) for key, value in change.items()})  # type: ignore[arg-type]
    model = export(config, tmp_path / "model.onnx")
    items = make_transcripts(config, 9, complete=True)
    assert parity_report(model, tmp_path / "model.onnx", items)["max_abs_difference_log1p_tpm"] <= TOLERANCE


@pytest.mark.slow
def test_large_weights_go_beside_the_graph(
    small_config: IsoFormerConfig,
    make_transcripts: MakeTranscripts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Above the size that one file may have, weights are external data beside it, and the answers are equal."""
    monkeypatch.setattr("model.export.EXTERNAL_DATA_BYTES", 0)
    path = tmp_path / "model.onnx"
    model = export(small_config, path)
    names = ["model.dna.onnx", "model.dna.onnx.data", "model.onnx", "model.onnx.data"]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    assert parity_report(model, path, make_transcripts(small_config, 4))["max_abs_difference_log1p_tpm"] <= TOLERANCE
    _holds_no_path(path)


@pytest.mark.slow
def test_equal_models_export_to_equal_bytes(small_config: IsoFormerConfig, tmp_path: Path) -> None:
    """Two exports of one model are the same file."""
    for name in ("a", "b"):
        export(small_config, tmp_path / name)
    for name in ("a", "a.dna.onnx"):
        assert (tmp_path / name).read_bytes() == (tmp_path / name.replace("a", "b", 1)).read_bytes()


def test_a_damaged_graph_is_one_clear_line(small_config: IsoFormerConfig, tmp_path: Path) -> None:
    """A file that is no ONNX model is an InputError naming it."""
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match=r"model\.onnx"):
        OnnxBackend(tmp_path / "model.onnx", small_config)
