"""Pre-training for the planted-signal benchmark: towers that saw another genome, and a data set of few labels."""

from __future__ import annotations

from pathlib import Path

from components.artifacts import AlreadyComplete
from components.extract_sequences.export_fasta import export_fasta
from components.fabricate.tracks import write_tracks
from components.harness import run_step
from components.params import Params
from components.pretrain_tower.step import run as pretrain_tower
from components.raw_data import find_raw_data

OTHER_GENOME_SEED = 101
UNLABELLED_TRANSCRIPTS = 4_000
STEPS = {"dna": 400, "rna": 800, "protein": 800}
LABELLED_TRANSCRIPTS = 1_500


def few_label_params(params: Params) -> Params:
    """The benchmark's parameters with few transcripts to learn from, and the epochs that so few need."""
    return params.changed(
        {
            "fabricate": {"transcripts": LABELLED_TRANSCRIPTS, "seed": params.fabricate.seed + 1},
            "train": {"max_epochs": 12, "patience_epochs": 4},
            "extract": {"split": {"test_share": 0.3, "valid_share": 0.1}},
        }
    )


def pretrained_towers(params: Params, folder: Path) -> dict[str, Path]:
    """Pre-train each tower on a genome of another seed, whose expression is never read; returns their artifacts.

    Motifs recur in every fabricated genome: that is the structure there is to learn.
    """
    other = params.changed({"fabricate": {"seed": OTHER_GENOME_SEED, "transcripts": UNLABELLED_TRANSCRIPTS}})
    place, work = folder / "unlabelled", folder / "work"
    run_step("fabricate", inputs={}, params=other, out=place / "raw", work=work)
    raw = find_raw_data(place / "raw", other.data)
    run_step("validate_data", inputs=raw, params=other, out=place / "validation", work=work)
    inputs = {**raw, "validation": place / "validation"}
    run_step("extract_sequences", inputs=inputs, params=other, out=place / "transcripts", work=work)
    if not (place / "fasta" / "protein.fa").exists():
        export_fasta(place / "transcripts", place / "fasta")
    tracks = write_tracks(place / "raw" / "truth_motifs.tsv", place / "tracks")
    sources = {
        "dna": {"genome": raw["genome"], **{f"track_{number}": path for number, path in enumerate(tracks)}},
        "rna": {"fasta": place / "fasta" / "rna.fa"},
        "protein": {"fasta": place / "fasta" / "protein.fa"},
    }
    found = {}
    for tower, files in sources.items():
        recipe = other.changed({"pretrain": {"steps": STEPS[tower]}})
        found[tower] = folder / "towers" / tower
        try:
            pretrain_tower(files, recipe, found[tower], work, tower=tower)
        except AlreadyComplete:
            print(f"{tower} tower is pre-trained already")
    return found
