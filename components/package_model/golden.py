"""Golden questions: items drawn from the test split, with the answers of the PyTorch model."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.sequences import Genome, letters_of
from model.batch import TranscriptInput
from model.errors import InputError
from model.tokenizers import dna_codes

if TYPE_CHECKING:
    from model.isoformer import IsoFormer

_COLUMNS = ["transcript_id", "contig", "strand", "window_start", "window_end", "rna", "protein"]
# Answers are stored to this many decimals: far below the tolerance, above the last bits of a sum.
_DECIMALS = 6

Item = dict[str, str]


def golden_items(payload: Path, modalities: tuple[str, ...], transcripts: int) -> list[Item]:
    """Items of test transcripts as a client would send them: {"dna", "rna", "protein"}, absent ones left out.

    `transcripts` of them, from the shortest RNA to the longest; then the one in the middle with every non-empty subset
    of its sequences that the model reads, and once in lower case with U for T. Raises `InputError` without any.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(payload / "transcripts.parquet", columns=_COLUMNS, filters=[("split", "==", "test")])
    rows = [row for row in table.to_pylist() if any(_has(row, name) for name in modalities)]
    if not rows:
        raise InputError(
            where=str(payload),
            expected="test transcripts that the model reads",
            found="none",
            fix="Extract with a test split, or give the model another modality.",
        )
    rows.sort(key=lambda row: (len(row["rna"]), row["transcript_id"]))
    genome = Genome.open(payload / "genome.safetensors")
    picked = np.unique(np.linspace(0, len(rows) - 1, min(transcripts, len(rows))).round().astype(int))
    items = [_item(rows[index], genome, modalities) for index in picked]
    # The middle one of those with the most sequences, so that every subset can be asked.
    richest = max(sum(_has(row, name) for name in modalities) for row in rows)
    rich = [row for row in rows if sum(_has(row, name) for name in modalities) == richest]
    item = _item(rich[len(rich) // 2], genome, modalities)
    items += _subsets(item)
    items.append({name: text.lower().replace("t", "u") if name == "rna" else text for name, text in item.items()})
    return items


def golden_entries(items: list[Item], model: IsoFormer) -> list[dict[str, Any]]:
    """Each item with the answer of the PyTorch model: {"item", "log1p_tpm"}."""
    from model.predictor import Predictor
    from model.torch_backend import TorchBackend

    predicted = Predictor(TorchBackend(model), model.config).predict(inputs_of(items)).log1p_tpm
    return [
        {"item": item, "log1p_tpm": [round(float(value), _DECIMALS) for value in row]}
        for item, row in zip(items, predicted, strict=True)
    ]


def inputs_of(items: list[Item]) -> list[TranscriptInput]:
    """Items as the model takes them."""
    return [
        TranscriptInput(
            dna=dna_codes(item["dna"]) if "dna" in item else None, rna=item.get("rna"), protein=item.get("protein")
        )
        for item in items
    ]


def _has(row: dict[str, Any], name: str) -> bool:
    return name == "dna" or bool(row[name])


def _item(row: dict[str, Any], genome: Genome, modalities: tuple[str, ...]) -> Item:
    item: Item = {name: row[name] for name in ("rna", "protein") if name in modalities and row[name]}
    if "dna" in modalities:
        window = genome.window(row["contig"], row["window_start"], row["window_end"], row["strand"])
        item["dna"] = letters_of(window)
    return item


def _subsets(item: Item) -> Iterator[Item]:
    for size in range(1, len(item)):
        for names in combinations(sorted(item), size):
            yield {name: item[name] for name in names}
