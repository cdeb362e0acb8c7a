"""int8 weights for an exported network, and what they cost in accuracy.

Matrix products take int8 weights and activations quantised as they come (ONNX Runtime's dynamic quantisation);
convolutions, norms, embeddings and softmax stay in float32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.batch import TranscriptInput
from model.config import IsoFormerConfig
from model.export import strip_provenance, write_onnx
from model.onnx_backend import OnnxBackend, dna_graph, onnx_files
from model.predictor import Predictor

QUANTIZED_OPERATORS = ("MatMul", "Gemm")


def quantize_int8(source: Path, target: Path) -> None:
    """Write the exported model `source` with int8 weights to `target`, its DNA tower beside it as beside `source`.

    Equal models give equal bytes.
    """
    for graph, smaller in ((source, target), (dna_graph(source), dna_graph(target))):
        if graph.is_file():
            _quantize(graph, smaller)


def _quantize(source: Path, target: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    proto = onnx.load(source)
    # Shapes that the exporter noted stand in the way of the quantiser's own inference.
    del proto.graph.value_info[:]
    _unshare_gemm_weights(proto)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
        plain, small = Path(folder) / "plain.onnx", Path(folder) / "small.onnx"
        write_onnx(proto, plain)
        quantize_dynamic(
            plain,
            small,
            op_types_to_quantize=list(QUANTIZED_OPERATORS),
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=plain.with_name(f"{plain.name}.data").exists(),
        )
        quantized = onnx.load(small)
    strip_provenance(quantized)
    write_onnx(quantized, target)


def _unshare_gemm_weights(proto: Any) -> None:
    """Give each Gemm a weight of its own.

    The quantiser transposes Gemm weights in place: one that two Gemms share would be transposed twice, and where it is
    square the graph stays valid and answers wrongly.
    """
    initializers = {tensor.name: tensor for tensor in proto.graph.initializer}
    used: set[str] = set()
    for index, node in enumerate(proto.graph.node):
        if node.op_type != "Gemm" or node.input[1] not in initializers:
            continue
        if node.input[1] in used:
            copy = proto.graph.initializer.add()
            copy.CopyFrom(initializers[node.input[1]])
            copy.name = f"{node.input[1]}_of_{index}"
            node.input[1] = copy.name
        used.add(node.input[1])


def int8_report(
    float32: Path, int8: Path, config: IsoFormerConfig, inputs: Sequence[TranscriptInput]
) -> dict[str, Any]:
    """What int8 changes in the predictions of transcripts: differences in log1p TPM, correlation, sizes in bytes.

    `min_tissue_correlation` is the least Pearson correlation over tissues between both answers; NaN is told as None
    where the answers of a tissue do not vary. Transcripts run one by one, as they are served: activations are quantised
    per batch, so that an answer would depend on its neighbours.
    """
    answers = [
        Predictor(OnnxBackend(path, config, threads=1), config, budget_tokens=1).predict(inputs).log1p_tpm
        for path in (float32, int8)
    ]
    difference = np.abs(answers[1] - answers[0])
    correlations = [
        float(np.corrcoef(a, b)[0, 1]) for a, b in zip(*(x.T for x in answers), strict=True) if np.ptp(a) and np.ptp(b)
    ]
    return {
        "operators": list(QUANTIZED_OPERATORS),
        "transcripts": len(inputs),
        "max_abs_difference_log1p_tpm": float(difference.max()),
        "mean_abs_difference_log1p_tpm": float(difference.mean()),
        "answer_sd_log1p_tpm": float(answers[0].std(axis=0).mean()),
        "min_tissue_correlation": min(correlations) if correlations else None,
        "bytes": {"float32": onnx_bytes(float32), "int8": onnx_bytes(int8)},
    }


def onnx_bytes(path: Path) -> int:
    """Size of an exported model, with its DNA tower and the weights beside them."""
    return sum(file.stat().st_size for file in onnx_files(path))
