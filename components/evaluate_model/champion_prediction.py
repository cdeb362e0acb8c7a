"""The champion's answers for the test split, made anew: figures that a registry recorded are not trusted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.champion import CONFIG, DESCRIPTION, GRAPH
from components.evaluate_model.examples import Examples
from components.evaluate_model.prediction import predict
from model.config import IsoFormerConfig
from model.errors import InputError


@dataclass(frozen=True)
class ChampionPrediction:
    """`predicted`: float32 (N, T). `transcripts`: digest of the dataset that the champion was trained on."""

    version: str
    model_digest: str
    transcripts: str
    predicted: np.ndarray


def predict_champion(folder: Path, test: Examples, tissues: tuple[str, ...], threads: int) -> ChampionPrediction:
    """Run the champion in `folder` (`components.champion.find_champion`) on the test split.

    Windows of its own length are cut around each TSS. One that predicts other tissues raises `InputError`.
    """
    from model.onnx_backend import OnnxBackend
    from model.predictor import Predictor

    try:
        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        version, model_digest, transcripts = (described[key] for key in ("version", "model_digest", "transcripts"))
        config = IsoFormerConfig.from_dict(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            where=str(folder),
            expected="a champion's files, as a registry holds them",
            found=f"another content ({error!r})",
            fix="Let the step find the champion in package.registry, or set evaluate.champion to false.",
        ) from None
    if tuple(config.tissues) != tissues:
        raise InputError(
            where=f"champion {version}",
            expected="the tissues of this dataset",
            found=f"{len(config.tissues)} tissues, not the same {len(tissues)} in the same order",
            fix="Name another registry in package.registry, or set evaluate.champion to false.",
        )
    predictor = Predictor(OnnxBackend(folder / GRAPH, config, threads=threads), config)
    predicted = predict(predictor, test, config.modalities, description="predict with the champion")
    return ChampionPrediction(version, model_digest, transcripts, predicted)
