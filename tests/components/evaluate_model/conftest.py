"""A small transcripts artifact and an untrained model artifact, as the steps before leave them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.artifacts import write_artifact, write_json
from components.sequences import GenomeWriter, letters_of, translate

TISSUES = ("Blood", "Brain", "Liver", "Lung")
WINDOW_BP = 512
CONTIG_BP = 300_000


def write_transcripts(
    out: Path, *, transcripts: int = 360, genes: int = 90, seed: int = 0, tissues: tuple[str, ...] = TISSUES
) -> Path:
    """Write a transcripts artifact whose labels follow the RNA's length and a word in it; 1 in 6 is non-coding."""
    generator = np.random.default_rng(seed)
    contig = generator.integers(0, 4, CONTIG_BP).astype(np.uint8)
    gene = np.sort(generator.integers(genes, size=transcripts))
    split = np.array(["train", "valid", "test"])[np.searchsorted([0.6, 0.75], generator.random(genes))][gene]
    rows = []
    for number in range(transcripts):
        strand = "+-"[gene[number] % 2]
        tss = int(generator.integers(2000, CONTIG_BP - 2000))
        start = tss - WINDOW_BP // 2 + (strand == "-")
        codes = generator.integers(0, 4, int(generator.integers(150, 450))).astype(np.uint8)
        rna = letters_of(codes)
        coding = number % 6 > 0
        protein = translate(codes[30:120]).replace("*", "X") if coding else None
        level = len(rna) / 150 + rna.count("GAT") / 3 + (0.0 if coding else 1.0)
        labels = np.maximum(0, level + np.arange(len(tissues)) * 0.3 + generator.normal(size=len(tissues)) * 0.3)
        rows.append(
            {
                "transcript_id": f"T{number:04d}",
                "gene_id": f"G{gene[number]:04d}",
                "gene_type": "protein_coding" if coding else "lncRNA",
                "contig": "chr1",
                "strand": strand,
                "window_start": start,
                "window_end": start + WINDOW_BP,
                "exon_starts": [tss, tss + 100][: 1 + number % 2],
                "rna": rna,
                "cds_start": 30 if coding else -1,
                "cds_end": 120 if coding else -1,
                "protein": protein,
                "split": split[number],
                "labels": labels.astype(np.float32),
            }
        )
    labels_type = pa.list_(pa.float32(), len(tissues))
    table = pa.table({name: [row[name] for row in rows] for name in rows[0] if name != "labels"}).append_column(
        "labels", pa.array([row["labels"] for row in rows], type=labels_type)
    )
    raw = out.parent / "raw.txt"
    raw.write_text("simulated", encoding="utf-8")
    facts = {
        "schema_version": 1,
        "tissues": list(tissues),
        "window_bp": WINDOW_BP,
        "simulated": True,
        "counts": {"rows": transcripts},
        "dataset_version": "0" * 64,
    }
    with write_artifact(out, kind="transcripts", inputs={"expression": raw}, config={"seed": seed}) as writer:
        pq.write_table(table, writer.payload / "transcripts.parquet")
        genome = GenomeWriter(writer.payload / "genome.safetensors")
        genome.start("chr1")
        genome.write(contig.tobytes())
        genome.close()
        write_json(writer.payload / "dataset.json", facts)
    return out


def write_model(out: Path, transcripts: Path) -> Path:
    """Write a model artifact with random weights that names `transcripts` as its input."""
    import torch

    from model.isoformer import IsoFormer
    from model.presets import preset
    from model.weights import save_model

    torch.manual_seed(0)
    config = dataclasses.replace(
        preset("sanity"),
        window_bp=WINDOW_BP,
        tissues=TISSUES,
        output_mean=(2.0,) * len(TISSUES),
        output_std=(1.0,) * len(TISSUES),
    )
    history = [
        {"epoch": epoch, "step": 10 * (epoch + 1), "train_mse": 1.0, "valid_mse": 1.1, "valid_r2": 0.0}
        for epoch in range(2)
    ]
    with write_artifact(out, kind="model", inputs={"transcripts": transcripts}, config={}) as writer:
        save_model(IsoFormer(config), writer.payload)
        recipe = {"train": {"calibration_share": 0.5, "seed": 0}}
        (writer.payload / "params.json").write_text(json.dumps(recipe), encoding="utf-8")
        (writer.payload / "history.json").write_text(json.dumps(history), encoding="utf-8")
    return out


@pytest.fixture(scope="session")
def make_transcripts() -> Callable[..., Path]:
    """`write_transcripts`, for tests that need another dataset."""
    return write_transcripts


@pytest.fixture(scope="session")
def make_model() -> Callable[[Path, Path], Path]:
    """`write_model`, for tests that need another model."""
    return write_model


@pytest.fixture(scope="session")
def transcripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transcripts artifact."""
    return write_transcripts(tmp_path_factory.mktemp("data") / "transcripts")


@pytest.fixture(scope="session")
def untrained_model(tmp_path_factory: pytest.TempPathFactory, transcripts: Path) -> Path:
    """A model artifact with random weights, made for `transcripts`."""
    return write_model(tmp_path_factory.mktemp("data") / "model", transcripts)


@dataclasses.dataclass(frozen=True)
class TwoModels:
    """Labels and two predictions, float32 (N, T); the challenger is the better one."""

    tissues: tuple[str, ...]
    gene_ids: list[str]
    observed: np.ndarray
    champion: np.ndarray
    challenger: np.ndarray


@pytest.fixture(scope="session")
def two_models() -> TwoModels:
    """What two real trainings predicted for the same test transcripts (simulated data)."""
    table = pq.read_table(Path(__file__).parent / "data" / "two_models.parquet")
    values = {
        name: np.array(table[name].to_pylist(), dtype=np.float32) for name in ("observed", "champion", "challenger")
    }
    return TwoModels(tuple(json.loads(table.schema.metadata[b"tissues"])), table["gene_id"].to_pylist(), **values)
