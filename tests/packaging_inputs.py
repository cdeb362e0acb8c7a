"""Small artifacts to package, made without training: the network is random, the verdict is given.

`packaged` takes them through the real packaging step, Bento, boot and all, once per test session.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from components.artifacts import digest_of, write_artifact, write_json
from components.params import Params, load_params
from components.sequences import letters_of, translate
from model.config import IsoFormerConfig
from model.presets import preset
from model.tokenizers import dna_codes

TISSUES = ("Blood", "Brain", "Liver")
_WINDOW_BP = 512
_GENES = 12
_INTRON_BP = 100


def sanity_config() -> IsoFormerConfig:
    """The smallest network with three tissues."""
    return replace(
        preset("sanity"), tissues=TISSUES, output_mean=(1.0, 0.5, 2.0), output_std=(1.0, 0.7, 1.5), window_bp=_WINDOW_BP
    )


def write_transcripts(out: Path) -> None:
    """A transcripts artifact of twelve transcripts on one contig, coding and not, on both strands."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save_file

    rng = np.random.default_rng(7)
    contig = rng.integers(0, 4, 20_000).astype(np.uint8)
    rows = [_row(index, contig, rng) for index in range(_GENES)]
    with write_artifact(out, kind="transcripts", inputs={}, config={"made": "for tests"}) as writer:
        pq.write_table(pa.Table.from_pylist(rows), writer.payload / "transcripts.parquet")
        save_file({"chr1": contig}, writer.payload / "genome.safetensors")
        write_json(
            writer.payload / "dataset.json",
            {"window_bp": _WINDOW_BP, "dataset_version": "d" * 64, "simulated": True, "tissues": list(TISSUES)},
        )


def _row(index: int, contig: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """One transcript of two exons, cut out of `contig` after its reading frame was written there."""
    strand = "+-"[index % 2]
    # The first window runs past the contig. Minus genes extend to the left of their TSS.
    start = 1_500 * index - (100 if index == 0 else 0) + (1_000 if strand == "-" else 0)
    tss = start + _WINDOW_BP // 2 - (strand == "-")
    length = 60 + 90 * index
    first = length // 3
    if strand == "+":
        exons = [(tss, tss + first), (tss + first + _INTRON_BP, tss + length + _INTRON_BP)]
    else:
        exons = [(tss + 1 - length - _INTRON_BP, tss + 1 - first - _INTRON_BP), (tss + 1 - first, tss + 1)]
    places = np.concatenate([np.arange(*exon) for exon in exons])
    coding = index % 4 != 3
    cds = (6, 6 + 3 * (12 + 10 * index)) if coding else (-1, -1)
    if coding:
        codons = rng.choice(["GCC", "AAG", "CTG", "GAT", "TTC", "GGA", "CAC"], 11 + 10 * index)
        frame = dna_codes("ATG" + "".join(codons) + "TGA")
        sense = places if strand == "+" else places[::-1]
        contig[sense[cds[0] : cds[1] + 3]] = frame if strand == "+" else 3 - frame
    rna = letters_of(contig[places] if strand == "+" else 3 - contig[places[::-1]])
    return {
        "transcript_id": f"SIMT{index:011d}.{1 + index % 2}",
        "gene_id": f"SIMG{index // 2:011d}.1",
        "gene_name": f"GENE{index // 2}",
        "transcript_type": "protein_coding" if coding else "lncRNA",
        "contig": "chr1",
        "strand": strand,
        "tss": tss,
        "window_start": start,
        "window_end": start + _WINDOW_BP,
        "exon_starts": [exon[0] for exon in exons],
        "exon_ends": [exon[1] for exon in exons],
        "rna": rna,
        "cds_start": cds[0],
        "cds_end": cds[1],
        "cds_phase": 0 if coding else -1,
        "protein": translate(dna_codes(rna[cds[0] : cds[1]])) if coding else None,
        "reasons": [],
        "split": "train" if index % 3 == 1 else "test",
    }


def write_model(out: Path, transcripts: Path, seed: int = 0) -> None:
    """A model artifact of random weights."""
    import torch

    from model.isoformer import IsoFormer
    from model.weights import save_model

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = IsoFormer(sanity_config())
    with write_artifact(out, kind="model", inputs={"transcripts": transcripts}, config={"seed": seed}) as writer:
        save_model(network, writer.payload)


def write_evaluation(out: Path, transcripts: Path, model: Path, *, blessed: bool = True, r2: float = 0.5) -> None:
    """An evaluation artifact with the given verdict."""
    inputs = {"transcripts": transcripts, "model": model}
    reasons = [] if blessed else ["Mean R² over tissues is 0.010; it is below the floor of 0.1."]
    figure = {"low": r2 - 0.1, "value": r2, "high": r2 + 0.1}
    with write_artifact(out, kind="evaluation", inputs=inputs, config={"r2": r2, "blessed": blessed}) as writer:
        write_json(writer.payload / "metrics.json", {"model": {"r2": figure, "spearman": figure, "per_tissue": {}}})
        # The first tissue had too few calibration genes.
        widths = [None, *(0.5 + 0.25 * column for column in range(1, len(TISSUES)))]
        write_json(
            writer.payload / "intervals.json",
            {
                "schema_version": 1,
                "method": "split conformal prediction",
                "level": 0.9,
                "coverage": "per gene",
                "unit": "log1p TPM",
                "half_width": dict(zip(TISSUES, widths, strict=True)),
            },
        )
        write_json(
            writer.payload / "verdict.json", {"blessed": blessed, "rules": [], "reasons": reasons, "champion": None}
        )
        (writer.payload / "model_card.md").write_text("# Model card\n", encoding="utf-8")


def write_inputs(folder: Path, *, seed: int = 0, blessed: bool = True, r2: float = 0.5) -> dict[str, Path]:
    """All three inputs of the packaging step below `folder`; transcripts are made once, the others per seed."""
    transcripts = folder / "transcripts"
    if not transcripts.exists():
        write_transcripts(transcripts)
    model = folder / f"model-{seed}"
    if not model.exists():
        write_model(model, transcripts, seed)
    evaluation = folder / f"evaluation-{digest_of(model)[:8]}-{blessed}-{r2}"
    if not evaluation.exists():
        write_evaluation(evaluation, transcripts, model, blessed=blessed, r2=r2)
    return {"transcripts": transcripts, "model": model, "evaluation": evaluation}


@dataclass(frozen=True)
class Packaged:
    """A bento artifact, what it was made of, and the registry that it is champion of."""

    inputs: dict[str, Path]
    out: Path
    registry: Path

    @property
    def source(self) -> Path:
        """The Bento's source folder: code, and the package beside it."""
        return self.out / "payload" / "bento" / "src"


def packaged(session: Path) -> Packaged:
    """The package of this test session, made below `session` when first asked for."""
    from components.package_model.step import run

    folder = session / "packaged"
    inputs = write_inputs(folder)
    made = Packaged(inputs, folder / "bento", folder / "registry")
    if not made.out.exists():
        run(inputs, package_params(made.registry), made.out, folder / "work")
    return made


def package_params(registry: Path, *overrides: str) -> Params:
    """Default parameters with a registry of the test's own."""
    return load_params(None, overrides=[f"package.registry={registry}", *overrides])
