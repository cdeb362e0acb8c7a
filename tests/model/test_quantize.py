"""int8 graphs answer nearly as float32 ones do, and the report says how nearly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from model.config import IsoFormerConfig
from model.export import export_onnx, write_onnx
from model.isoformer import IsoFormer
from model.onnx_backend import OnnxBackend, dna_graph, onnx_files
from model.predictor import Predictor
from model.quantize import int8_report, onnx_bytes, quantize_int8
from model.torch_backend import TorchBackend

if TYPE_CHECKING:
    from tests.model.conftest import MakeTranscripts


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[IsoFormer, Path]:
    from model.presets import preset

    torch.manual_seed(0)
    model = IsoFormer(replace(preset("sanity"), tissues=("Brain", "Liver", "Testis"))).eval()
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(model, path)
    return model, path


@pytest.mark.slow
def test_int8_is_smaller_and_its_error_is_told(
    exported: tuple[IsoFormer, Path], make_transcripts: MakeTranscripts, tmp_path: Path
) -> None:
    """The report's largest difference is the one that a user would measure against PyTorch."""
    model, path = exported
    config: IsoFormerConfig = model.config
    small = tmp_path / "int8.onnx"
    quantize_int8(path, small)
    items = make_transcripts(config, 12)
    report = int8_report(path, small, config, items)
    # One by one, as the report is made: in a batch, int8 activations take their scale from the neighbours too.
    by_hand = [
        Predictor(backend, config, budget_tokens=1).predict(items).log1p_tpm
        for backend in (TorchBackend(model), OnnxBackend(small, config))
    ]
    measured = float(np.abs(by_hand[0] - by_hand[1]).max())
    assert measured > 1e-5, "nothing was quantised"
    assert report["max_abs_difference_log1p_tpm"] == pytest.approx(measured, abs=1e-4)
    # A weight that two Gemms share and the quantiser transposed twice cost two standard deviations, and a correlation.
    assert report["max_abs_difference_log1p_tpm"] < 0.5 * report["answer_sd_log1p_tpm"]
    assert report["min_tissue_correlation"] > 0.99
    assert report["bytes"]["int8"] == onnx_bytes(small) < onnx_bytes(path)
    assert sorted(tmp_path.iterdir()) == sorted(onnx_files(small))


@pytest.mark.slow
def test_int8_is_deterministic_and_holds_no_path(exported: tuple[IsoFormer, Path], tmp_path: Path) -> None:
    """Equal graphs give equal bytes, without a trace of where they were made."""
    for name in ("a.onnx", "b.onnx"):
        quantize_int8(exported[1], tmp_path / name)
    content = (tmp_path / "a.onnx").read_bytes()
    assert content == (tmp_path / "b.onnx").read_bytes()
    assert b"/tmp" not in content
    assert str(tmp_path).encode() not in content


@pytest.mark.slow
def test_int8_of_a_model_with_external_data(
    exported: tuple[IsoFormer, Path], make_transcripts: MakeTranscripts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the size of one file both forms keep their weights beside them, and answer as they do in one."""
    import onnx

    model, path = exported
    quantize_int8(path, tmp_path / "one.onnx")
    monkeypatch.setattr("model.export.EXTERNAL_DATA_BYTES", 0)
    for graph in (path, dna_graph(path)):
        write_onnx(onnx.load(graph), tmp_path / graph.name)
    quantize_int8(tmp_path / "model.onnx", tmp_path / "int8.onnx")
    names = {item.name for item in tmp_path.iterdir()}
    beside = {f"{name}.onnx{data}" for name in ("int8", "int8.dna", "model", "model.dna") for data in ("", ".data")}
    assert names == {*beside, "one.onnx", "one.dna.onnx"}
    items = make_transcripts(model.config, 4)
    apart = int8_report(tmp_path / "model.onnx", tmp_path / "int8.onnx", model.config, items)
    whole = int8_report(path, tmp_path / "one.onnx", model.config, items)
    assert apart["max_abs_difference_log1p_tpm"] == whole["max_abs_difference_log1p_tpm"]
