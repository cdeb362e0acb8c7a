"""What is known about a fabricated data set: states, effects, places of the elements, and ceilings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.fabricate.contigs import PlacedGene
from components.fabricate.motifs import FAMILIES, MODALITIES, MOTIFS
from components.fabricate.signal import TISSUES, Signal, ceilings, truth_of_signal

_DECIMALS = 6


def transcript_ids(genes: Sequence[PlacedGene]) -> list[tuple[str, str]]:
    """(transcript, gene) ids of all transcripts, genes in genomic order."""
    return [(item.transcript_id(index), item.gene_id) for item in genes for index in range(len(item.gene.isoforms))]


def states_of(genes: Sequence[PlacedGene]) -> np.ndarray:
    """Element states (N, 3) of all transcripts: bit f is set where family f is present; order DNA, RNA, protein."""
    return np.array([isoform.states for item in genes for isoform in item.gene.isoforms], dtype=np.int64)


def truth_of(genes: Sequence[PlacedGene], states: np.ndarray, signal: Signal, labels: np.ndarray) -> dict[str, Any]:
    """Everything that truth.json tells, given states (N, 3) and labels (N, T)."""
    table = signal.table()
    found = ceilings(table, states, labels)
    main_effects = ceilings(_without_pairs(signal).table(), states, labels)["+".join(MODALITIES)]
    base = (labels - table[tuple(states.T)]).mean(0)
    noise = found["+".join(MODALITIES)]
    starts = {(item.number, isoform.exons[0][0]) for item in genes for isoform in item.gene.isoforms}
    return {
        "simulated": True,
        "note": "Simulated data. No number from it is a statement about biology.",
        "tissues": list(TISSUES),
        "counts": {
            "genes": len(genes),
            "coding_genes": sum(item.gene.gene_type == "protein_coding" for item in genes),
            "transcripts": len(labels),
            "distinct_tss": len(starts),
        },
        "motifs": {
            motif.name: {"modality": modality, "sequence": motif.sequence}
            for modality in MODALITIES
            for motif in MOTIFS[modality]
        },
        "signal": {**truth_of_signal(signal), "tissue_base": _rounded(base)},
        "noise_ceiling": {"mean": _mean(noise), "per_tissue": _rounded(noise)},
        "ceilings": {name: {"mean": _mean(value), "per_tissue": _rounded(value)} for name, value in found.items()},
        "main_effects_ceiling": {"mean": _mean(main_effects), "per_tissue": _rounded(main_effects)},
    }


def write_features(path: Path, ids: Sequence[tuple[str, str]], states: np.ndarray) -> None:
    """Write which elements each transcript has (1) or not (0), one row per transcript, states (N, 3)."""
    names = [motif.name for modality in MODALITIES for motif in MOTIFS[modality]]
    present = (states[:, :, None] >> np.arange(FAMILIES) & 1).reshape(len(states), -1)
    rows = ["\t".join(["transcript_id", "gene_id", *names])]
    rows += ["\t".join([*pair, *map(str, bits)]) for pair, bits in zip(ids, present.tolist(), strict=True)]
    path.write_text("\n".join(rows) + "\n", encoding="ascii")


def write_motifs(path: Path, genes: Sequence[PlacedGene]) -> None:
    """Write where each element stands: 0-based half-open genomic interval; a decoy (effect 0) has no effect."""
    rows = ["contig\tstart\tend\tstrand\tgene_id\tmodality\telement\teffect"]
    for item in genes:
        for found in item.gene.instances:
            start, end = item.genomic(found.span)
            name = MOTIFS[found.modality][found.family].name
            place = f"{item.contig}\t{start}\t{end}\t{item.strand}\t{item.gene_id}"
            rows.append(f"{place}\t{found.modality}\t{name}\t{int(found.counts)}")
    path.write_text("\n".join(rows) + "\n", encoding="ascii")


def _without_pairs(signal: Signal) -> Signal:
    return Signal(main=signal.main, pairs=np.zeros_like(signal.pairs), rate=signal.rate)


def _mean(values: np.ndarray) -> float:
    return round(float(values.mean()), _DECIMALS)


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), _DECIMALS) for value in values]
