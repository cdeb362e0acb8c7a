"""The baseline that shows what a sequence model has to beat: four lengths alone (RNA, 5'UTR, CDS, 3'UTR)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.artifacts import open_artifact
from components.evaluate_model.examples import Examples
from components.evaluate_model.metrics import defined_mean, r2_per_tissue, skill, spearman_per_tissue
from components.evaluate_model.ridge import PENALTIES, fit_ridges

LABEL = "lengths alone (RNA, 5'UTR, CDS, 3'UTR; ridge)"


@dataclass(frozen=True, kw_only=True)
class LengthBaseline:
    """Mean R² and Spearman over tissues on the test split."""

    r2: float
    spearman: float


def length_baseline(transcripts: Path) -> LengthBaseline:
    """Fit a ridge of log1p lengths on train, its penalty chosen on valid, and score it on test."""
    payload = open_artifact(transcripts, "transcripts").payload
    train, valid, test = (Examples.read(payload, split) for split in ("train", "valid", "test"))
    features = {id(split): length_features(split) for split in (train, valid, test)}
    ridges = fit_ridges(
        lambda rows: features[id(train)][rows.start : rows.stop], [range(len(train))], train.labels, PENALTIES
    )
    errors = [float(((ridge.predict(features[id(valid)]) - valid.labels) ** 2).mean()) for ridge in ridges]
    predicted = ridges[int(np.argmin(errors))].predict(features[id(test)])
    r2 = r2_per_tissue(test.labels, predicted)
    spearman = skill(spearman_per_tissue(test.labels, predicted))[~np.isnan(r2)]
    return LengthBaseline(r2=float(defined_mean(r2)), spearman=float(spearman.mean()))


def length_features(examples: Examples) -> np.ndarray:
    """log1p of the lengths of RNA, 5'UTR, CDS and 3'UTR, 0 where there is none: float32 (N, 4)."""
    total = np.array([len(rna) for rna in examples.rna])
    coding = examples.cds_start >= 0
    utr5 = np.where(coding, examples.cds_start, 0)
    cds = np.where(coding, examples.cds_end - examples.cds_start, 0)
    utr3 = np.where(coding, total - examples.cds_end, 0)
    return np.log1p(np.column_stack([total, utr5, cds, utr3])).astype(np.float32)
