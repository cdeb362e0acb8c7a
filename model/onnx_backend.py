"""The predictor's backend that runs an exported network in ONNX Runtime: numpy and onnxruntime only.

B transcripts, W distinct DNA windows. The only place where a batch is padded.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.batch import PackedBatch
from model.config import EnformerConfig, IsoFormerConfig
from model.errors import InputError
from model.tokenizers import DNA_CODE_N, ESM_PAD, SIXMER_CLS, SIXMER_PAD

OUTPUT_NAME = "log1p_tpm"


class OnnxBackend:
    """Runs an exported model on the CPU; `threads` 0 leaves the count to ONNX Runtime."""

    def __init__(self, path: Path | str, config: IsoFormerConfig, threads: int = 0) -> None:
        import onnxruntime

        self.config = config
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise InputError(
                where=str(path),
                expected="an ONNX model",
                found=str(error).splitlines()[0],
                fix="Export the model again.",
            ) from None
        found = [item.name for item in self.session.get_inputs()]
        expected = list(input_names(config))
        if sorted(found) != sorted(expected):
            raise InputError(
                where=str(path),
                expected=f"the inputs {', '.join(expected)}",
                found=", ".join(found),
                fix="Use the configuration that the model was exported with.",
            )

    def run(self, batch: PackedBatch) -> np.ndarray:
        """log1p TPM, float32 (B, tissues)."""
        (predicted,) = self.session.run([OUTPUT_NAME], padded_inputs(batch, self.config))
        return np.asarray(predicted, dtype=np.float32)


def input_names(config: IsoFormerConfig) -> tuple[str, ...]:
    """The graph's inputs for the modalities that the model has, in order."""
    dna = ("windows",) if isinstance(config.dna, EnformerConfig) else ("dna_tokens", "dna_lengths")
    return (
        *((*dna, "window_of_transcript") if config.dna is not None else ()),
        *(("rna_tokens", "rna_lengths") if config.rna is not None else ()),
        *(("protein_tokens", "protein_lengths") if config.protein is not None else ()),
        "present",
    )


def padded_inputs(batch: PackedBatch, config: IsoFormerConfig) -> dict[str, np.ndarray]:
    """A packed batch as the graph takes it: int64 tokens (B, longest) and lengths (B,), at least one window."""
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
