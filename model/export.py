"""Export to ONNX, and the proof that the exported graph answers as the network does.

W distinct DNA windows, B transcripts. The graph takes padded tokens; the module code is the packed network's.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model.batch import TranscriptInput, collate
from model.config import MODALITIES, IsoFormerConfig
from model.isoformer import IsoFormer, TokenInput, TorchBatch
from model.onnx_backend import OUTPUT_NAME, OnnxBackend, input_names, padded_inputs
from model.torch_backend import TorchBackend

# 23 and above fail in ONNX Runtime's CPU attention with (B, 1, 1, L) masks.
OPSET = 20
# A protobuf file holds less than 2 GiB; above this the weights go into a file beside it.
EXTERNAL_DATA_BYTES = 1_500_000_000
_DIMENSIONS = {
    "windows": ("windows",),
    "dna_tokens": ("windows", "dna_tokens"),
    "dna_lengths": ("windows",),
    "window_of_transcript": ("transcripts",),
    "rna_tokens": ("transcripts", "rna_tokens"),
    "rna_lengths": ("transcripts",),
    "protein_tokens": ("transcripts", "protein_tokens"),
    "protein_lengths": ("transcripts",),
    "present": ("transcripts",),
}


class PaddedIsoFormer(nn.Module):
    """The network with padded inputs (see `onnx_backend.input_names`) and log1p TPM as output."""

    def __init__(self, model: IsoFormer) -> None:
        super().__init__()
        self.model = model
        self.names = input_names(model.config)

    def forward(self, *values: Tensor) -> Tensor:
        """(B, tissues)."""
        given = dict(zip(self.names, values, strict=True))
        present = given["present"]
        index = given.get("window_of_transcript", present.new_zeros(present.shape[0], dtype=torch.int64))
        windows = given.get("windows", given.get("dna_tokens", present))
        empty = TokenInput.from_padded(index.new_zeros(1, 1), index.new_zeros(1))
        batch = TorchBatch(
            windows=windows,
            window_of_transcript=torch.where(index < 0, windows.shape[0], index),
            present=present,
            **{  # type: ignore[arg-type]
                name: TokenInput.from_padded(given[f"{name}_tokens"], given[f"{name}_lengths"])
                if f"{name}_tokens" in given
                else empty
                for name in MODALITIES
            },
        )
        return self.model.to_log1p(self.model(batch))


def export_onnx(model: IsoFormer, path: Path) -> None:
    """Write the model to `path` (and `path`.data above 1.5 GB), dynamic in W, B and both token lengths.

    The graph carries no trace of where it was made: equal models give equal bytes.
    """
    wrapper = PaddedIsoFormer(model.cpu()).eval()
    # torch.export takes sizes 0 and 1 for constants: every dynamic size of the example is larger.
    example = padded_inputs(collate(_example(model.config), model.config), model.config)
    dimensions = {name: torch.export.Dim(name, min=1) for names in _DIMENSIONS.values() for name in names}
    shapes = tuple({axis: dimensions[label] for axis, label in enumerate(_DIMENSIONS[name])} for name in wrapper.names)
    with _quiet():
        program = torch.onnx.export(
            wrapper,
            tuple(torch.from_numpy(example[name]) for name in wrapper.names),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(wrapper.names),
            output_names=[OUTPUT_NAME],
            dynamic_shapes=(shapes,),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the ONNX exporter returned nothing")
    proto = program.model_proto
    strip_provenance(proto)
    write_onnx(proto, path)


def write_onnx(proto: Any, path: Path) -> None:
    """Write an ONNX model to `path`, its weights to `path`.data where they are too large for one file."""
    import onnx

    # Counted by tensors: a protobuf above 2 GiB cannot even be asked for its size.
    size = sum(len(tensor.raw_data) for tensor in proto.graph.initializer)
    if size > EXTERNAL_DATA_BYTES:
        onnx.save_model(proto, path, save_as_external_data=True, location=f"{path.name}.data")
    else:
        path.write_bytes(proto.SerializeToString(deterministic=True))


def strip_provenance(proto: Any) -> None:
    """Remove producer, documentation and metadata from an ONNX model: they hold source paths and stack traces."""
    proto.producer_name = "isoformer"
    for field in ("producer_version", "domain", "doc_string"):
        proto.ClearField(field)
    del proto.metadata_props[:]
    graphs = [proto.graph, *proto.functions]
    while graphs:
        graph = graphs.pop()
        graph.ClearField("doc_string")
        del graph.metadata_props[:]
        for part in ("input", "output", "value_info", "initializer"):
            for value in getattr(graph, part, ()):
                if hasattr(value, "metadata_props"):
                    del value.metadata_props[:]
                    value.ClearField("doc_string")
        for node in graph.node:
            node.ClearField("doc_string")
            del node.metadata_props[:]
            graphs.extend(attribute.g for attribute in node.attribute if attribute.HasField("g"))


def parity_report(model: IsoFormer, path: Path, inputs: Sequence[TranscriptInput]) -> dict[str, Any]:
    """Largest differences between PyTorch and ONNX Runtime over transcripts, and over those lacking each modality.

    Each transcript is asked as given and, where it stays readable, once without each of its modalities.
    """
    config = model.config
    torch_backend, onnx_backend = TorchBackend(model), OnnxBackend(path, config, threads=1)
    cases = {"as_given": list(inputs)}
    for name in config.modalities:
        without = [_without(item, name) for item in inputs]
        cases[f"without_{name}"] = [item for item in without if _readable(item, config)]
    differences = {}
    for case, items in cases.items():
        if items:
            batch = collate(items, config)
            differences[case] = float(np.abs(torch_backend.run(batch) - onnx_backend.run(batch)).max())
    return {
        "opset": OPSET,
        "transcripts": len(inputs),
        "max_abs_difference_log1p_tpm": max(differences.values()),
        "by_case": differences,
    }


def _without(item: TranscriptInput, name: str) -> TranscriptInput:
    kept = {other: getattr(item, other) for other in MODALITIES if other != name}
    return TranscriptInput(**kept)


def _readable(item: TranscriptInput, config: IsoFormerConfig) -> bool:
    return any(getattr(item, name) is not None for name in config.modalities)


def _example(config: IsoFormerConfig) -> list[TranscriptInput]:
    """Three transcripts over two windows, all lengths different."""
    first = np.zeros(config.window_bp, dtype=np.uint8)
    return [
        TranscriptInput(dna=first, rna="ACGT" * 9, protein="MKV"),
        TranscriptInput(dna=first + 1, rna="ACGT" * 5, protein="MKVLA"),
        TranscriptInput(dna=first, rna="ACGT" * 3, protein="MK"),
    ]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter reports its steps and its own deprecations; neither is the user's concern."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
