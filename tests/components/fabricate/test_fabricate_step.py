"""Fabrication is deterministic, whole or absent, and clear about what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fabricated_reader import Raw, read_raw, small_params

from components.artifacts import AlreadyComplete, sha256_file
from components.fabricate import step
from model.errors import InputError


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(folder.iterdir())}


def test_same_seed_gives_the_same_bytes_and_another_seed_others(raw: Raw, tmp_path: Path) -> None:
    """Every file, byte for byte; with another seed genome, annotation and expression all differ."""
    step.run({}, small_params(), tmp_path / "again", tmp_path)
    step.run({}, small_params("fabricate.seed=2"), tmp_path / "other", tmp_path)
    first, other = _digests(raw.folder), _digests(tmp_path / "other")
    assert _digests(tmp_path / "again") == first
    assert all(first[name] != other[name] for name in ("genome.fa.gz", "annotation.gtf.gz", "transcript_tpm.gct.gz"))


def test_doses_change_expression_only(raw: Raw, tmp_path: Path) -> None:
    """With another RNA dose the genome, the annotation and the elements are the same bytes."""
    step.run({}, small_params("fabricate.rna_dose=0.0"), tmp_path / "raw", tmp_path)
    first, other = _digests(raw.folder), _digests(tmp_path / "raw")
    changed = {name for name in first if first[name] != other[name]}
    assert changed == {"transcript_tpm.gct.gz", "truth.json"}


def test_start_sites_of_one_promoter_can_lie_apart(raw: Raw, tmp_path: Path) -> None:
    """Up to the bp asked for, downstream; genome, coding sequences and expression stay as they are."""
    step.run({}, small_params("fabricate.tss_spread_bp=40"), tmp_path / "raw", tmp_path)
    spread = read_raw(tmp_path / "raw")
    assert spread.genome == raw.genome
    moved = []
    for name, item in raw.transcripts.items():
        other = spread.transcripts[name]
        moved.append((other.tss - item.tss) * (1 if item.strand == "+" else -1))
        assert spread.spliced(other, "CDS") == raw.spliced(item, "CDS")
        assert raw.spliced(item, "exon").endswith(spread.spliced(other, "exon"))
        assert other.features["Selenocysteine"] == item.features["Selenocysteine"]
    assert min(moved) == 0
    assert max(moved) == 40
    assert spread.truth["counts"]["distinct_tss"] > raw.truth["counts"]["distinct_tss"]
    np.testing.assert_array_equal(spread.expression()[2], raw.expression()[2])


def test_it_calls_itself_simulated(raw: Raw) -> None:
    """The truth says so, and so do annotation, identifiers and sample attributes."""
    assert raw.truth["simulated"] is True
    assert all(name.startswith("SIMT") for name in raw.transcripts)
    assert "SIMULATED" in (raw.folder / "sample_attributes.txt").read_text()


def test_a_second_run_is_recognised(raw: Raw) -> None:
    """The same fabrication at the same place is complete already."""
    with pytest.raises(AlreadyComplete):
        step.run({}, small_params(), raw.folder, raw.folder)


def test_an_occupied_place_is_refused(tmp_path: Path) -> None:
    """Another seed's folder, a changed file and a stranger's folder all raise one clear error and stay as they are."""
    out = tmp_path / "raw"
    step.run({}, small_params("fabricate.transcripts=60"), out, tmp_path)
    with pytest.raises(InputError, match="other or changed files"):
        step.run({}, small_params("fabricate.transcripts=61"), out, tmp_path)
    (out / "sample_attributes.txt").write_text("changed")
    with pytest.raises(InputError, match="other or changed files"):
        step.run({}, small_params("fabricate.transcripts=60"), out, tmp_path)
    assert (out / "sample_attributes.txt").read_text() == "changed"


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk is full halfway, neither the folder nor a part of it is left."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, "write_motifs", full)
    with pytest.raises(OSError, match="No space"):
        step.run({}, small_params("fabricate.transcripts=60"), tmp_path / "raw", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_genes_are_spaced_for_the_window_of_the_extraction() -> None:
    """fabricate.window_bp goes before extract.window_bp; a window too small for the promoters is refused."""
    assert step.window_of(small_params("extract.window_bp=1024")) == 1024
    assert step.window_of(small_params("extract.window_bp=1024", "fabricate.window_bp=600")) == 600
    with pytest.raises(InputError, match="at least 384"):
        step.window_of(small_params("extract.window_bp=128"))
