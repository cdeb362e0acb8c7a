"""All predictions of an evaluation: of the model as it is and ablated, of baselines, of the champion."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.calibration_genes import calibration_genes
from components.evaluate_model.ablations import ablated_predictions, presence, shuffled_predictions
from components.evaluate_model.attention import AttentionTable
from components.evaluate_model.attention_comparison import compare_attention
from components.evaluate_model.baselines import honest_predictions
from components.evaluate_model.behaviour import SAMPLE_TRANSCRIPTS, measure_behaviour
from components.evaluate_model.champion_prediction import predict_champion
from components.evaluate_model.conformal import Intervals, calibrate
from components.evaluate_model.dna_alone import train_dna_alone
from components.evaluate_model.evaluation import DNA_ALONE, Measured
from components.evaluate_model.examples import Examples
from components.evaluate_model.leakage import find_leakage
from components.evaluate_model.metrics import GeneGroups
from components.evaluate_model.prediction import predict, transcript_input
from components.evaluate_model.strata import strata_of
from components.evaluate_model.subject import Subject
from components.params import Params
from model.batch import TranscriptInput
from model.errors import InputError

if TYPE_CHECKING:
    from model.isoformer import IsoFormer
    from model.predictor import Predictor


class Clock:
    """Seconds of named parts, one after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """Count the time since the last lap for `name`."""
        now = time.monotonic()
        self.seconds[name] = round(self.seconds.get(name, 0.0) + now - self._last, 2)
        self._last = now


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was measured, and what the payload tells beside it; None where there was nothing to measure it on."""

    measured: Measured
    test: Examples
    intervals: Intervals | None
    attention: AttentionTable | None
    clock: Clock = field(default_factory=Clock)

    @property
    def attention_json(self) -> dict[str, Any] | None:
        """The attention table as JSON data."""
        return None if self.attention is None else self.attention.to_json()


def measure(subject: Subject, params: Params, *, champion: Path | None, work: Path) -> Found:
    """Predict the test split in every way that the parameters ask for; `work` is scratch space."""
    clock = Clock()
    wanted = params.evaluate
    train, valid, test = (Examples.read(subject.transcripts.payload, split) for split in ("train", "valid", "test"))
    network, predictor = _open_model(subject, params)
    modalities = predictor.config.modalities
    predicted = predict(predictor, test, modalities)
    intervals = _intervals(subject, valid, predictor, wanted.interval_level)
    clock.lap("predictions")
    shuffled = shuffled_predictions(predictor, test, modalities, wanted.seed) if wanted.contributions else {}
    trained_without = {name: float(1 - has.mean()) for name, has in presence(train).items()}
    ablated = {}
    if wanted.ablations:
        ablated = ablated_predictions(
            predictor, test, modalities, predicted=predicted, trained_without=trained_without, params=wanted
        )
    clock.lap("ablations")
    sample = _sample(test, modalities, wanted.seed)
    behaviour = measure_behaviour(predictor, network, sample, onnx_folder=work / "onnx" if wanted.onnx else None)
    clock.lap("behaviour")
    attention = compare_attention(subject.model, network, test, wanted.attention_transcripts)
    clock.lap("attention")
    fitted = honest_predictions(train, valid, test, wanted.baselines)
    baselines = dict(fitted.predictions)
    clock.lap("baselines")
    if wanted.dna_alone:
        baselines[DNA_ALONE] = _dna_alone(subject, test, params, work)
        clock.lap("dna_alone")
    rival = None
    if champion is not None and wanted.champion:
        rival = predict_champion(champion, test, tuple(subject.dataset["tissues"]), params.runtime.threads)
        clock.lap("champion")
    measured = Measured(
        tissues=tuple(subject.dataset["tissues"]),
        gene_ids=test.gene_ids,
        observed=test.labels,
        predicted=predicted,
        baselines=baselines,
        penalties=fitted.penalties,
        same_dataset=subject.same_dataset,
        leakage=find_leakage(subject.transcripts.payload, subject.dataset),
        behaviour=behaviour,
        shuffled=shuffled,
        ablated=ablated,
        strata=tuple(strata_of(test, fitted.homology)),
        champion=rival,
        transcripts_digest=subject.transcripts.digest,
    )
    return Found(measured=measured, test=test, intervals=intervals, attention=attention, clock=clock)


def _open_model(subject: Subject, params: Params) -> tuple[IsoFormer, Predictor]:
    """The network behind the one inference path; refuses a dataset with other tissues or windows than its own."""
    import torch

    from model.predictor import Predictor
    from model.torch_backend import TorchBackend
    from model.weights import load_model

    network = load_model(subject.model.payload)
    config = network.config
    for what, found, expected in (
        ("tissues", tuple(subject.dataset["tissues"]), tuple(config.tissues)),
        ("window_bp", subject.dataset["window_bp"], config.window_bp),
    ):
        if found != expected and not (what == "window_bp" and config.dna is None):
            raise InputError(
                where=str(subject.transcripts.path),
                expected=f"the {what} that the model was trained for ({_short(expected)})",
                found=_short(found),
                fix="Evaluate on the dataset that the model was trained on, or train on this one.",
            )
    if params.runtime.threads:
        torch.set_num_threads(params.runtime.threads)
    has_gpu = torch.cuda.is_available()
    if params.runtime.device == "cuda" and not has_gpu:
        raise InputError(
            where="runtime.device", expected="a CUDA device", found="none", fix="Set it to auto or cpu in params.yaml."
        )
    device = "cuda" if has_gpu and params.runtime.device != "cpu" else "cpu"
    return network, Predictor(TorchBackend(network, device), config)


def _short(value: Any) -> str:
    return f"{len(value)}: {', '.join(value[:3])} …" if isinstance(value, tuple) else str(value)


def _intervals(subject: Subject, valid: Examples, predictor: Predictor, level: float) -> Intervals | None:
    """Intervals from the validation genes that the model's own training set apart; None where it set none apart."""
    try:
        recipe = json.loads((subject.model.payload / "params.json").read_text(encoding="utf-8"))
        share = float(recipe["train"]["calibration_share"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    chosen = calibration_genes(valid.gene_ids, share)
    rows = np.flatnonzero([gene in chosen for gene in valid.gene_ids])
    # On another dataset its genes may be among those that the model was fitted on.
    if not len(rows) or not subject.same_dataset:
        return None
    part = valid.select(rows)
    predicted = predict(predictor, part, predictor.config.modalities, description="predict calibration genes")
    return calibrate(part.labels, predicted, GeneGroups.of(part.gene_ids), level)


def _sample(test: Examples, modalities: tuple[str, ...], seed: int) -> list[TranscriptInput]:
    """Some test transcripts that the model can read, drawn at random."""
    chosen = np.random.default_rng(seed).permutation(len(test))[:SAMPLE_TRANSCRIPTS]
    items = [transcript_input(test, int(row), modalities) for row in np.sort(chosen)]
    return [item for item in items if item.dna is not None or item.rna is not None or item.protein is not None]


def _dna_alone(subject: Subject, test: Examples, params: Params, work: Path) -> np.ndarray:
    from model.predictor import Predictor
    from model.torch_backend import TorchBackend
    from model.weights import load_model

    folder = train_dna_alone(subject.model, subject.transcripts.path, params, work)
    network = load_model(folder / "payload")
    return predict(Predictor(TorchBackend(network), network.config), test, ("dna",), description="predict by DNA alone")
