"""Simulated samples: noise, transcripts per million, and the two GTEx tables."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.fabricate.signal import TISSUES
from components.sections import FabricateParams

TPM_SUM = 1e6
_ATTRIBUTES = ("SAMPID", "SMATSSCR", "SMCENTER", "SMPTHNTS", "SMRIN", "SMTS", "SMTSD", "SMAFRZE")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A column of the expression table."""

    sample_id: str
    tissue: str


def samples_of(per_tissue: int) -> list[Sample]:
    """`per_tissue` samples of each tissue, donors shared over tissues as in GTEx."""
    return [
        Sample(sample_id=f"SYNTX-D{donor + 1:03d}-{tissue:04d}-SM-SIM{tissue * per_tissue + donor:03d}", tissue=name)
        for tissue, name in enumerate(TISSUES)
        for donor in range(per_tissue)
    ]


def simulate_tpm(signal: np.ndarray, params: FabricateParams) -> np.ndarray:
    """TPM (N, samples), tissue-major, of noise-free signals (N, T); each sample adds up to a million.

    log1p TPM = tissue base + signal + transcript noise (half of its variance common to all tissues) + sample noise.
    """
    rng = np.random.default_rng([params.seed, 4])
    transcripts = len(signal)
    half = params.transcript_noise_sd * np.sqrt(0.5)
    noisy = signal + half * rng.normal(size=(transcripts, 1)) + half * rng.normal(size=signal.shape)
    noisy = np.repeat(noisy + _base(noisy), params.samples_per_tissue, axis=1)
    noisy += params.sample_noise_sd * rng.normal(size=noisy.shape)
    tpm = np.maximum(np.expm1(noisy), 0.0)
    return np.round(tpm * (TPM_SUM / tpm.sum(0)), 2)


def labels_of(tpm: np.ndarray) -> np.ndarray:
    """log1p of the mean TPM over the samples of each tissue: (N, T) from (N, samples), tissue-major."""
    return np.log1p(tpm.reshape(len(tpm), len(TISSUES), -1).mean(2))


def write_tpm(path: Path, ids: Sequence[tuple[str, str]], samples: Sequence[Sample], tpm: np.ndarray) -> None:
    """Write TPM (N, samples) of (transcript, gene) ids as gzipped GCT 1.2, as GTEx lays it out."""
    rows = [f"#1.2\n{len(ids)}\t{len(samples)}\n"]
    rows.append("\t".join(["transcript_id", "gene_id", *(sample.sample_id for sample in samples)]) + "\n")
    line = "%s\t%s" + "\t%.2f" * len(samples) + "\n"
    rows.extend(line % (*names, *values) for names, values in zip(ids, tpm.tolist(), strict=True))
    path.write_bytes(gzip.compress("".join(rows).encode("ascii"), compresslevel=6, mtime=0))


def write_sample_attributes(path: Path, samples: Sequence[Sample]) -> None:
    """Write the attributes of samples, and of a few that are not in the RNA-seq freeze and must be left out."""
    rows = ["\t".join(_ATTRIBUTES)]
    for sample in samples:
        rows.append(_attributes(sample.sample_id, sample.tissue, "RNASEQ"))
    rows.append(_attributes("SYNTX-D001-0003-SM-SIMWGS", "Blood", "WGS"))
    rows.append(_attributes("SYNTX-D001-0003-SM-SIMOMN", "Blood", "OMNI"))
    rows.append(_attributes("SYNTX-D002-0013-SM-SIMEXC", "Liver", "EXCLUDE"))
    path.write_text("\n".join(rows) + "\n", encoding="ascii")


def _attributes(sample_id: str, tissue: str, freeze: str) -> str:
    return "\t".join([sample_id, "", "", "SIMULATED, not GTEx", "", tissue, tissue, freeze])


def _base(signal: np.ndarray) -> np.ndarray:
    """Level (T,) at which the tissues' transcripts add up to a million TPM, by bisection."""
    low, high = np.zeros(signal.shape[1]), np.full(signal.shape[1], np.log(TPM_SUM))
    for _ in range(60):
        middle = (low + high) / 2
        above = np.maximum(np.expm1(signal + middle), 0.0).sum(0) > TPM_SUM
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return (low + high) / 2
