"""Export to ONNX, and the proof that the exported graphs answer as the network does.

A network with a DNA tower becomes two graphs, the tower and what reads its states, so that a server may keep the states
of a window; every weight is in one of them. W distinct DNA windows, B transcripts, Q positions or tokens of a window, D
channels. Graphs take padded tokens; the module code is the packed network's.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model.batch import TranscriptInput, collate
from model.config import MODALITIES, IsoFormerConfig
from model.encoders.layout import padded_layout
from model.fusion import ModalityStates, window_states
from model.isoformer import IsoFormer, TokenInput, TorchBatch
from model.onnx_backend import (
    DNA_STATES,
    OUTPUT_NAME,
    OnnxBackend,
    dna_graph,
    dna_input_names,
    input_names,
    joining_input_names,
    padded_inputs,
)
from model.torch_backend import TorchBackend

# 23 and above fail in ONNX Runtime's CPU attention with (B, 1, 1, L) masks.
OPSET = 20
# A protobuf file holds less than 2 GiB; above this the weights go into a file beside it.
EXTERNAL_DATA_BYTES = 1_500_000_000
_DIMENSIONS = {
    "windows": ("windows",),
    "dna_tokens": ("windows", "dna_tokens"),
    "dna_lengths": ("windows",),
    DNA_STATES: ("windows", "dna_tokens"),
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


class DnaTower(nn.Module):
    """The DNA encoder with padded inputs (see `onnx_backend.dna_input_names`) and its states as output."""

    def __init__(self, model: IsoFormer) -> None:
        super().__init__()
        self.encoder = model.encoders["dna"]
        self.names = dna_input_names(model.config)

    def forward(self, *values: Tensor) -> Tensor:
        """(W, Q, D)."""
        if len(values) == 1:
            states: Tensor = self.encoder(values[0])
            return states
        tokens = TokenInput.from_padded(*values)
        return self.encoder(tokens.tokens, tokens.layout).unflatten(0, values[0].shape)


class JoinedIsoFormer(nn.Module):
    """The network behind its DNA tower: states of windows (W, Q, D) in place of windows, log1p TPM as output."""

    def __init__(self, model: IsoFormer) -> None:
        super().__init__()
        # What its forward reads and no more: the tower's weights are in the other graph.
        self.encoders = nn.ModuleDict({name: tower for name, tower in model.encoders.items() if name != "dna"})
        self.fusion, self.head = model.fusion, model.head
        self.register_buffer("output_mean", model.output_mean)
        self.register_buffer("output_std", model.output_std)
        self.modalities = model.config.modalities
        self.names = joining_input_names(model.config)

    def forward(self, *values: Tensor) -> Tensor:
        """(B, tissues)."""
        given = dict(zip(self.names, values, strict=True))
        states = {name: self._dna(given) if name == "dna" else self._tokens(name, given) for name in self.modalities}
        predicted: Tensor = self.head(self.fusion(states)) * self.output_std + self.output_mean
        return predicted

    def _dna(self, given: Mapping[str, Tensor]) -> ModalityStates:
        states_WQD, index = given[DNA_STATES], given["window_of_transcript"]
        of_transcript = torch.where(index < 0, states_WQD.shape[0], index)
        present = given["present"][:, MODALITIES.index("dna")]
        if "dna_lengths" not in given:
            return window_states(states_WQD, of_transcript, present, None)
        layout = padded_layout(states_WQD.shape[0], states_WQD.shape[1], given["dna_lengths"])
        return ModalityStates(
            states=states_WQD.flatten(0, 1), layout=layout, of_transcript=of_transcript, present=present
        )

    def _tokens(self, name: str, given: Mapping[str, Tensor]) -> ModalityStates:
        tokens = TokenInput.from_padded(given[f"{name}_tokens"], given[f"{name}_lengths"])
        return ModalityStates(
            states=self.encoders[name](tokens.tokens, tokens.layout),
            layout=tokens.layout,
            of_transcript=None,
            present=given["present"][:, MODALITIES.index(name)],
        )


def export_onnx(model: IsoFormer, path: Path) -> None:
    """Write the model to `path`, its DNA tower to `onnx_backend.dna_graph(path)`; dynamic in W, B and token lengths.

    Weights above 1.5 GB lie beside their graph (<file>.data). The graphs carry no trace of where they were made: equal
    models give equal bytes.
    """
    model = model.cpu().eval()
    config = model.config
    # torch.export takes sizes 0 and 1 for constants: every dynamic size of the example is larger.
    given = padded_inputs(collate(_example(config), config), config)
    example = {name: torch.from_numpy(values) for name, values in given.items()}
    if config.dna is None:
        _export(PaddedIsoFormer(model), example, OUTPUT_NAME, path)
        return
    tower = DnaTower(model)
    _export(tower, example, DNA_STATES, dna_graph(path))
    with torch.no_grad():
        example[DNA_STATES] = tower(*(example[name] for name in tower.names))
    _export(JoinedIsoFormer(model), example, OUTPUT_NAME, path)


def _export(
    wrapper: PaddedIsoFormer | DnaTower | JoinedIsoFormer, example: Mapping[str, Tensor], output: str, path: Path
) -> None:
    """Write one graph; `example` holds its inputs by name."""
    dimensions = {name: torch.export.Dim(name, min=1) for names in _DIMENSIONS.values() for name in names}
    # An Enformer gives every window the same number of positions.
    fixed = {DNA_STATES: 1} if "dna_lengths" not in wrapper.names else {}
    shapes = tuple(
        {axis: dimensions[label] for axis, label in enumerate(_DIMENSIONS[name][: fixed.get(name)])}
        for name in wrapper.names
    )
    with _quiet():
        program = torch.onnx.export(
            wrapper.eval(),
            tuple(example[name] for name in wrapper.names),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(wrapper.names),
            output_names=[output],
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
