"""Are the planted elements found? Each position's importance to a model, against where the elements stand.

N transcripts, L positions of one sequence, T tissues.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from components.artifacts import open_artifact
from components.sequences import Genome
from model.batch import TranscriptInput, collate
from model.predictor import Predictor
from model.tokenizers import crop_rna

TRANSCRIPTS = 8
COLUMNS = (
    *("contig", "strand", "window_start", "window_end", "exon_starts", "exon_ends", "rna", "cds_start", "cds_end"),
    *("cds_phase", "protein", "split", "gene_id"),
)
_ALPHABETS: dict[str, Sequence[Any]] = {"dna": (0, 1, 2, 3), "rna": "ACGT", "protein": "ACDEFGHIKLMNPQRSTVWY"}


@dataclass(frozen=True, kw_only=True)
class Found:
    """Mean area under the ROC curve over transcripts: by changes of the prediction, and by attention received."""

    changes: float
    attention: float | None
    transcripts: int


def aurocs(model: Path, transcripts: Path, truth_motifs: Path) -> dict[str, Found]:
    """For each modality: are positions of elements with an effect told from all others, decoys among these?"""
    from model.attention_maps import rna_attention_received
    from model.torch_backend import TorchBackend
    from model.weights import load_model

    network = load_model(open_artifact(model, "model").payload)
    predictor = Predictor(TorchBackend(network), network.config)
    rows = list(_test_rows(open_artifact(transcripts, "transcripts").payload, _elements(truth_motifs)))
    found = {}
    for modality in network.config.modalities:
        usable = [item for item in rows if item[2][modality].any() and not item[2][modality].all()][:TRANSCRIPTS]
        scores, attention = [], []
        for inputs, _, truth in usable:
            importance = changes(predictor, inputs, modality)
            scores.append(auroc(importance, truth[modality][: len(importance)]))
            if modality == "rna":
                received = rna_attention_received(network, collate([inputs], network.config))[0]
                attention.append(auroc(_per_base(received, inputs.rna, network.config.rna.max_tokens), truth["rna"]))
        found[modality] = Found(
            changes=float(np.mean(scores)),
            attention=float(np.mean(attention)) if attention else None,
            transcripts=len(scores),
        )
    return found


def changes(predictor: Predictor, inputs: TranscriptInput, modality: str) -> np.ndarray:
    """In-silico mutagenesis: float64 (L,), log1p TPM. Of each position, the mean absolute change over tissues and over
    everything else that could stand there."""
    sequence = getattr(inputs, modality)
    base = predictor.predict([inputs]).log1p_tpm[0].astype(np.float64)
    totals, counts = np.zeros(len(sequence)), np.zeros(len(sequence))
    for letter in _ALPHABETS[modality]:
        places = [at for at in range(len(sequence)) if sequence[at] != letter]
        changed = [replace(inputs, **{modality: _with(sequence, at, letter)}) for at in places]
        predicted = predictor.predict(changed).log1p_tpm
        totals[places] += np.abs(predicted - base).mean(axis=1)
        counts[places] += 1
    return totals / np.maximum(counts, 1)


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Chance that a positive position scores above another: Mann-Whitney U over its maximum, ties half."""
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    count = int(positive.sum())
    above = ranks[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(scores) - count)))


def _per_base(received_LHT: Any, rna: str, max_tokens: int) -> np.ndarray:
    """Attention of six-mer tokens, mean over layers and heads, laid out over the RNA; 0 where it was cropped off."""
    tokens = received_LHT.float().mean(dim=(0, 1)).numpy()[1:]  # without CLS
    kept = len(crop_rna(rna, max_tokens))
    bases = np.concatenate([np.repeat(tokens[: kept // 6], 6), tokens[kept // 6 :]])
    return np.concatenate([np.zeros(len(rna) - kept), bases])


def _with(sequence: Any, at: int, letter: Any) -> Any:
    """The sequence, letters or codes, with another letter at one place."""
    if isinstance(sequence, str):
        return sequence[:at] + letter + sequence[at + 1 :]
    changed = sequence.copy()
    changed[at] = letter
    return changed


def _elements(truth_motifs: Path) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Genomic intervals of elements that have an effect, by (gene, modality)."""
    header, *rows = truth_motifs.read_text(encoding="ascii").splitlines()
    found: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for row in rows:
        entry = dict(zip(header.split("\t"), row.split("\t"), strict=True))
        if entry["effect"] == "1":
            key = (entry["gene_id"], entry["modality"])
            found.setdefault(key, []).append((int(entry["start"]), int(entry["end"])))
    return found


def _test_rows(
    payload: Path, elements: dict[tuple[str, str], list[tuple[int, int]]]
) -> Iterator[tuple[TranscriptInput, str, dict[str, np.ndarray]]]:
    """Test transcripts with all modalities: what the model reads, the gene, which positions of each sequence count."""
    import pyarrow.parquet as pq

    genome = Genome.open(payload / "genome.safetensors")
    table = pq.read_table(payload / "transcripts.parquet", columns=list(COLUMNS), filters=[("split", "==", "test")])
    for row in table.to_pylist():
        if not (row["protein"] and row["rna"] and row["cds_start"] >= 0):
            continue
        window = genome.window(row["contig"], row["window_start"], row["window_end"], row["strand"])
        inputs = TranscriptInput(dna=window, rna=row["rna"], protein=row["protein"])
        yield inputs, row["gene_id"], _truth(row, elements)


def _truth(row: dict[str, Any], elements: dict[tuple[str, str], list[tuple[int, int]]]) -> dict[str, np.ndarray]:
    """Which positions of window (L,), RNA (L,) and protein (L,) lie in an element with an effect."""
    gene = row["gene_id"]
    window = np.arange(row["window_start"], row["window_end"])
    exons = [np.arange(*pair) for pair in zip(row["exon_starts"], row["exon_ends"], strict=True)]
    spliced = np.concatenate(exons)
    if row["strand"] == "-":
        window, spliced = window[::-1], spliced[::-1]
    inside = {
        name: _inside(places, elements.get((gene, name), [])) for name, places in _places(window, spliced).items()
    }
    frame = row["cds_start"] + (row.get("cds_phase") or 0)
    residues = inside["protein"][frame : frame + 3 * len(row["protein"])]
    residues = residues[: len(residues) // 3 * 3].reshape(-1, 3).all(axis=1)
    missing = len(row["protein"]) - len(residues)
    return {**inside, "protein": np.concatenate([residues, np.zeros(missing, dtype=bool)])}


def _places(window: np.ndarray, spliced: np.ndarray) -> dict[str, np.ndarray]:
    return {"dna": window, "rna": spliced, "protein": spliced}


def _inside(places: np.ndarray, intervals: list[tuple[int, int]]) -> np.ndarray:
    return np.any([(places >= start) & (places < end) for start, end in intervals], axis=0) if intervals else places < 0
