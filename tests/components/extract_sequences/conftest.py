"""Miniature genomes and annotations written by hand, and the shared real data where it is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from components.extract_sequences.annotation import Annotation, read_annotation
from components.extract_sequences.fasta import write_genome
from components.extract_sequences.transcripts import Extraction, Transcript, extract
from components.sections import ExtractParams
from components.sequences import Genome

SHARED = Path(__file__).parents[4] / "shared" / "data"

Extracted = Callable[..., dict[str, Transcript]]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real sequence, annotation and expression, with what other tools made of them."""
    if not SHARED.is_dir():
        pytest.skip(f"NOT PROVEN HERE: {SHARED} is not on this machine")
    return SHARED


@pytest.fixture(scope="session")
def shared_genome(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Genome:
    """The shared pieces of GRCh38 as codes."""
    target = tmp_path_factory.mktemp("genome") / "genome.safetensors"
    write_genome(shared / "genome" / "demo.fa.gz", target)
    return Genome.open(target)


@pytest.fixture(scope="session")
def shared_annotation(shared: Path) -> Annotation:
    """GENCODE v24, GENCODE ~v36 and RefSeq genes of the shared genome."""
    return read_annotation(shared / "annotation" / "demo.gtf.gz")


@pytest.fixture(scope="session")
def shared_transcripts(shared_annotation: Annotation, shared_genome: Genome) -> dict[str, Transcript]:
    """All of them, by id."""
    extraction = extract(shared_annotation, shared_genome, ExtractParams(window_bp=1024))
    return {transcript.transcript_id: transcript for transcript in extraction.transcripts}


@pytest.fixture
def extraction(tmp_path: Path) -> Callable[..., Extraction]:
    """Extract from an annotation text and contigs given as letters."""

    def run(annotation: str, contigs: dict[str, str], params: ExtractParams | None = None) -> Extraction:
        (tmp_path / "annotation").write_text(annotation)
        (tmp_path / "genome.fa").write_text("".join(f">{name}\n{letters}\n" for name, letters in contigs.items()))
        write_genome(tmp_path / "genome.fa", tmp_path / "genome.safetensors")
        genome = Genome.open(tmp_path / "genome.safetensors")
        return extract(read_annotation(tmp_path / "annotation"), genome, params or ExtractParams(window_bp=1))

    return run


@pytest.fixture
def extracted(extraction: Callable[..., Extraction]) -> Extracted:
    """The same, as transcripts by id."""

    def run(annotation: str, contigs: dict[str, str], params: ExtractParams | None = None) -> dict[str, Transcript]:
        return {item.transcript_id: item for item in extraction(annotation, contigs, params).transcripts}

    return run
