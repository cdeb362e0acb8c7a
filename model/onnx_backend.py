"""The predictor's backend that runs an exported network in ONNX Runtime: numpy and onnxruntime only.

B transcripts, W distinct DNA windows, Q positions or tokens of a window, D channels. The only place where a batch is
padded.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from model.batch import PackedBatch
from model.config import EnformerConfig, IsoFormerConfig
from model.errors import InputError
from model.tokenizers import DNA_CODE_N, ESM_PAD, SIXMER_CLS, SIXMER_PAD
from model.window_cache import WindowCache

# ONNX Runtime tells its makers of every process and model since 1.29, and keeps an id of the machine in the home,
# unless this stands before its first import; all of ours come through here. Set it to 0 to let it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

OUTPUT_NAME = "log1p_tpm"
DNA_STATES = "dna_states"
# The tower gains nothing from long windows side by side, and its memory grows with them.
_WINDOW_BP_PER_CALL = 65_536
# Memory of a run on more padded tokens is given back: the arena would keep what the largest batch ever needed.
_KEPT_TOKENS = 2_048


class OnnxBackend:
    """Runs an exported model on the CPU; `threads` 0 leaves the count to ONNX Runtime.

    The DNA tower is a graph of its own beside `path` (`dna_graph`). `cache_bytes` of its states are kept, so that a
    window asked again, in another batch, is not encoded again; 0 keeps none.
    """

    # Batches become rectangles: a planner should put like lengths together.
    pads = True

    def __init__(self, path: Path | str, config: IsoFormerConfig, threads: int = 0, *, cache_bytes: int = 0) -> None:
        self.config = config
        self.cache = WindowCache(cache_bytes)
        self._threads = threads
        self._shrinking = _shrinking_options()
        self._tower = None
        beside = dna_graph(Path(path))
        if config.dna is not None and beside.is_file():
            self._tower = self._session(beside, dna_input_names(config))
            self._session_of_batch = self._session(Path(path), joining_input_names(config))
        else:
            # A model without DNA, or one exported as a whole.
            self._session_of_batch = self._session(Path(path), input_names(config))

    def run(self, batch: PackedBatch) -> np.ndarray:
        """log1p TPM, float32 (B, tissues)."""
        inputs = padded_inputs(batch, self.config)
        if self._tower is not None:
            inputs = self._with_states(inputs)
        tokens = sum(inputs[name].size for name in ("rna_tokens", "protein_tokens") if name in inputs)
        options = self._shrinking if tokens > _KEPT_TOKENS else None
        (predicted,) = self._session_of_batch.run([OUTPUT_NAME], inputs, options)
        return np.asarray(predicted, dtype=np.float32)

    def _with_states(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The inputs with states (W, Q, D) in place of windows."""
        lengths = inputs.get("dna_lengths")
        windows: list[np.ndarray]
        if lengths is None:
            windows = list(inputs.pop("windows"))
        else:
            windows = [row[:length] for row, length in zip(inputs.pop("dna_tokens"), lengths, strict=True)]
        states = [self.cache.get(window) for window in windows]
        missing = [place for place, found in enumerate(states) if found is None]
        at_once = max(1, _WINDOW_BP_PER_CALL // self.config.window_bp)
        for start in range(0, len(missing), at_once):
            places = missing[start : start + at_once]
            for place, encoded in zip(places, self._encode([windows[place] for place in places]), strict=True):
                states[place] = encoded
                self.cache.put(windows[place], encoded)
        longest = max(len(found) for found in states if found is not None)
        return {**inputs, DNA_STATES: np.stack([_lengthened(found, longest) for found in states if found is not None])}

    def _encode(self, windows: list[np.ndarray]) -> list[np.ndarray]:
        """States (Q, D) of each window, each an array of its own."""
        assert self._tower is not None
        lengths = np.array([len(window) for window in windows], dtype=np.int64)
        if isinstance(self.config.dna, EnformerConfig):
            inputs = {"windows": np.stack(windows)}
        else:
            offsets = np.concatenate([[0], np.cumsum(lengths)])
            tokens, lengths = _padded(np.concatenate(windows), offsets, SIXMER_PAD)
            inputs = {"dna_tokens": tokens, "dna_lengths": lengths}
        (states,) = self._tower.run([DNA_STATES], inputs)
        if isinstance(self.config.dna, EnformerConfig):
            return [found.copy() for found in states]
        return [found[:length].copy() for found, length in zip(states, lengths, strict=True)]

    def _session(self, path: Path, expected: tuple[str, ...]) -> Any:
        """A session of the graph at `path`, whose inputs must be as expected; else `InputError`."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise InputError(
                where=str(path),
                expected="an ONNX model",
                found=str(error).splitlines()[0],
                fix="Export the model again.",
            ) from None
        found = [item.name for item in session.get_inputs()]
        if sorted(found) != sorted(expected):
            raise InputError(
                where=str(path),
                expected=f"the inputs {', '.join(expected)}",
                found=", ".join(found),
                fix="Use the configuration that the model was exported with.",
            )
        return session


def _shrinking_options() -> Any:
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def dna_graph(path: Path) -> Path:
    """Where the DNA tower of the model exported to `path` lies."""
    return path.with_name(f"{path.stem}.dna.onnx")


def onnx_files(path: Path) -> list[Path]:
    """The files of the model exported to `path`: its graphs, and the weights beside them."""
    graphs = [path, dna_graph(path)]
    return [file for graph in graphs for file in (graph, graph.with_name(f"{graph.name}.data")) if file.is_file()]


def dna_input_names(config: IsoFormerConfig) -> tuple[str, ...]:
    """Inputs of the DNA tower."""
    return ("windows",) if isinstance(config.dna, EnformerConfig) else ("dna_tokens", "dna_lengths")


def joining_input_names(config: IsoFormerConfig) -> tuple[str, ...]:
    """Inputs of the graph behind the DNA tower, in order."""
    names = [name for name in input_names(config) if name not in ("windows", "dna_tokens")]
    return (DNA_STATES, *names)


def input_names(config: IsoFormerConfig) -> tuple[str, ...]:
    """Inputs of the whole network for the modalities that it has, in order."""
    return (
        *((*dna_input_names(config), "window_of_transcript") if config.dna is not None else ()),
        *(("rna_tokens", "rna_lengths") if config.rna is not None else ()),
        *(("protein_tokens", "protein_lengths") if config.protein is not None else ()),
        "present",
    )


def padded_inputs(batch: PackedBatch, config: IsoFormerConfig) -> dict[str, np.ndarray]:
    """A packed batch as the network takes it: int64 tokens (B, longest) and lengths (B,), at least one window."""
    inputs: dict[str, np.ndarray] = {"present": batch.present}
    if isinstance(config.dna, EnformerConfig):
        nothing = np.full((1, config.window_bp), DNA_CODE_N, dtype=np.uint8)
        inputs["windows"] = batch.windows if len(batch.windows) else nothing
    elif config.dna is not None:
        tokens, lengths = _padded(batch.dna_tokens, batch.dna_offsets, SIXMER_PAD)
        has_windows = len(lengths) > 0
        inputs["dna_tokens"] = tokens if has_windows else np.array([[SIXMER_CLS]], dtype=np.int64)
        inputs["dna_lengths"] = lengths if has_windows else np.ones(1, dtype=np.int64)
    if config.dna is not None:
        inputs["window_of_transcript"] = batch.window_of_transcript
    if config.rna is not None:
        inputs["rna_tokens"], inputs["rna_lengths"] = _padded(batch.rna_tokens, batch.rna_offsets, SIXMER_PAD)
    if config.protein is not None:
        tokens, lengths = _padded(batch.protein_tokens, batch.protein_offsets, ESM_PAD)
        inputs["protein_tokens"], inputs["protein_lengths"] = tokens, lengths
    return inputs


def _padded(tokens: np.ndarray, offsets: np.ndarray, pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Packed tokens as a rectangle int64 (N, longest ≥ 1), and lengths int64 (N,)."""
    lengths = np.diff(offsets)
    mask = np.arange(max(1, lengths.max(initial=1))) < lengths[:, None]
    padded = np.full(mask.shape, pad, dtype=np.int64)
    padded[mask] = tokens
    return padded, lengths


def _lengthened(states: np.ndarray, length: int) -> np.ndarray:
    """States (Q, D) as (length, D), zero behind."""
    return states if len(states) == length else np.pad(states, ((0, length - len(states)), (0, 0)))
