"""How a sound model behaves whatever its skill: batches and padding change nothing, and its tissues are its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.evaluate_model.metrics import GeneGroups, defined_mean, divided, skill, standardised_profiles
from model.batch import PackedBatch, TranscriptInput

if TYPE_CHECKING:
    from model.isoformer import IsoFormer
    from model.predictor import Predictor

SAMPLE_TRANSCRIPTS = 24
PERMUTATIONS = 2000


@dataclass(frozen=True)
class Behaviour:
    """Largest differences of a sample's predictions, log1p TPM: in other batches, padded, and by ONNX Runtime.

    `onnx` is None where it was not asked for.
    """

    batches: float
    padding: float
    onnx: float | None = None


@dataclass(frozen=True)
class TissueIdentity:
    """Tissue-centred profile correlation as predicted, and with the predicted tissues permuted.

    `permuted`: mean over random permutations; `p`: share of permutations that do as well as the true order.
    """

    correlation: float
    permuted: float
    p: float


def tissue_identity(observed: np.ndarray, predicted: np.ndarray, groups: GeneGroups, seed: int) -> TissueIdentity:
    """What is left of the profile correlation of (N, T) predictions when their tissues are permuted at random.

    A correlation of standardised profiles is a sum over pairs of tissues, so that one (T, T) table holds it for every
    permutation. Genes count equally.
    """
    first, second = standardised_profiles(observed), standardised_profiles(predicted)
    known = (first**2).sum(axis=1) > 0
    defined_in_gene = groups.sums(known.astype(np.float64))
    weight = np.where(known, divided(np.ones(len(known)), defined_in_gene[groups.gene]), 0.0)
    genes = (defined_in_gene > 0).sum()
    table = (first * skill(weight)[:, None]).T @ second / max(1, int(genes))
    tissues = observed.shape[1]
    generator = np.random.default_rng(seed)
    orders = np.array([generator.permutation(tissues) for _ in range(PERMUTATIONS)])
    draws = table[np.arange(tissues), orders].sum(axis=1)
    true = float(np.trace(table))
    # Rounding must not decide where the identity itself is drawn.
    as_good = (draws >= true - 1e-12).sum()
    return TissueIdentity(true, float(defined_mean(draws)), float((1 + as_good) / (1 + PERMUTATIONS)))


def measure_behaviour(
    predictor: Predictor, network: IsoFormer, items: list[TranscriptInput], *, onnx_folder: Path | None
) -> Behaviour:
    """Predict `items` again one by one in reverse, padded, and (given a scratch folder) through an exported graph."""
    from model.predictor import Predictor

    if not items:
        return Behaviour(0.0, 0.0)
    config = predictor.config
    expected = predictor.predict(items).log1p_tpm
    alone = Predictor(predictor.backend, config, budget_tokens=1).predict(items[::-1]).log1p_tpm[::-1]
    padded = Predictor(_PaddedBackend(network), config).predict(items).log1p_tpm
    onnx = None
    if onnx_folder is not None:
        onnx = _largest(expected, _through_onnx(network, items, onnx_folder))
    return Behaviour(_largest(expected, alone), _largest(expected, padded), onnx)


def _largest(one: np.ndarray, other: np.ndarray) -> float:
    """Largest absolute difference; NaN where either is no number."""
    return float(np.abs(one.astype(np.float64) - other).max())


class _PaddedBackend:
    """Runs the network on rectangles of padded tokens, as an exported graph takes them."""

    def __init__(self, network: IsoFormer) -> None:
        from model.export import PaddedIsoFormer

        self.network = network
        self.padded = PaddedIsoFormer(network).eval()

    def run(self, batch: PackedBatch) -> np.ndarray:
        """log1p TPM, float32 (B, tissues)."""
        import torch

        from model.onnx_backend import padded_inputs

        values = padded_inputs(batch, self.network.config)
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            predicted = self.padded(*(torch.from_numpy(values[name]).to(device) for name in self.padded.names))
        return np.asarray(predicted.float().cpu().numpy(), dtype=np.float32)


def _through_onnx(network: IsoFormer, items: list[TranscriptInput], folder: Path) -> np.ndarray:
    import torch

    from model.export import export_onnx
    from model.onnx_backend import OnnxBackend
    from model.predictor import Predictor

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    threads, device = torch.get_num_threads(), next(network.parameters()).device
    # The exporter works in sequence: a second thread would only spin beside it.
    torch.set_num_threads(1)
    export_onnx(network, path)
    torch.set_num_threads(threads)
    network.to(device)
    return Predictor(OnnxBackend(path, network.config, threads=1), network.config).predict(items).log1p_tpm
