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
from model.config import IsoFormerConfig
from model.presets import preset

TISSUES = ("Blood", "Brain", "Liver")
_WINDOW_BP = 512
_GENES = 12


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
    rows = [_row(index, rng) for index in range(_GENES)]
    with write_artifact(out, kind="transcripts", inputs={}, config={"made": "for tests"}) as writer:
        pq.write_table(pa.Table.from_pylist(rows), writer.payload / "transcripts.parquet")
        save_file({"chr1": contig}, writer.payload / "genome.safetensors")
        write_json(
            writer.payload / "dataset.json",
            {"window_bp": _WINDOW_BP, "dataset_version": "d" * 64, "simulated": True, "tissues": list(TISSUES)},
        )


def _row(index: int, rng: np.random.Generator) -> dict[str, Any]:
    # The first window runs past the contig.
    start = 1_500 * index - (100 if index == 0 else 0)
    letters = np.array(list("ACGT"))
    return {
        "transcript_id": f"SIMT{index:011d}.{1 + index % 2}",
        "gene_id": f"SIMG{index:011d}.1",
        "contig": "chr1",
        "strand": "+-"[index % 2],
        "window_start": start,
        "window_end": start + _WINDOW_BP,
        "rna": "".join(letters[rng.integers(0, 4, 60 + 90 * index)]),
        "protein": None if index % 4 == 3 else "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 15 + 12 * index)),
        "split": "test",
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
