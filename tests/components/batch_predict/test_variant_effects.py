"""A list of variants to effects: of each on every transcript in reach, what cannot be predicted told by line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from packaging_inputs import TISSUES, Packaged, packaged

from components.artifacts import open_artifact
from components.batch_predict.packaged import find_package, open_package
from components.batch_predict.predict import input_of, read_transcripts
from components.batch_predict.step import run
from components.batch_predict.variant_effects import predict_variants
from components.extract_sequences.transcripts import Transcript
from components.params import Params
from components.sequences import Genome, letters_of
from components.variants import apply_variant, locus_of, parse_variant
from model.batch import TranscriptInput
from model.errors import InputError


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Packaged = packaged(tmp_path_factory.getbasetemp())
    return find_package(made.out)


@pytest.fixture(scope="module")
def rows(raw_inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Genome, list[Transcript]]:
    return read_transcripts(raw_inputs["genome"], raw_inputs["annotation"], 512, tmp_path_factory.mktemp("rows"))


def snv(genome: Genome, contig: str, place: int) -> tuple[str, str, str]:
    """Position from 1, the genome's base there, another base."""
    base = letters_of(genome.window(contig, place, place + 1, "+"))
    return str(place + 1), base, "ACGT"[("ACGT".index(base) + 1) % 4]


def test_effects_equal_those_predicted_one_by_one(
    package: Path, raw_inputs: dict[str, Path], rows: tuple[Genome, list[Transcript]], tmp_path: Path
) -> None:
    genome, transcripts = rows
    listed = tmp_path / "variants.vcf.gz"
    lines = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT"]
    for row in transcripts[:6]:
        position, base, other = snv(genome, row.contig, row.tss)
        lines.append(f"{row.contig.removeprefix('chr')}\t{position}\t.\t{base}\t{other},<DEL>")
    far = max(int(row.exon_ends[-1]) + 600 for row in transcripts if row.contig == transcripts[0].contig)
    if far < genome.length(transcripts[0].contig):
        lines.append("\t".join([transcripts[0].contig, *_vcf(snv(genome, transcripts[0].contig, far))]))
    with gzip.open(listed, "wt") as file:
        file.write("\n".join(lines) + "\n")
    files = raw_inputs["genome"], raw_inputs["annotation"], listed
    counts = predict_variants(package, *files, tmp_path / "effects.parquet", tmp_path / "work")
    table = pq.read_table(tmp_path / "effects.parquet")
    assert counts.pairs == table.num_rows >= 6
    assert json.loads(table.schema.metadata[b"tissues"]) == list(TISSUES)
    model = open_package(package, threads=1)
    by_name = {row.transcript_id: row for row in transcripts}
    for found in table.to_pylist():
        row = by_name[found["transcript_id"]]
        edited = apply_variant(
            genome, locus_of(lambda name, row=row: getattr(row, name)), parse_variant(found["variant"])
        )
        before = model.predictor.predict([input_of(genome, row, model.config.modalities)]).log1p_tpm[0]
        after = model.predictor.predict(
            [TranscriptInput(dna=edited.dna, rna=edited.rna, protein=edited.protein)]
        ).log1p_tpm[0]
        np.testing.assert_allclose(found["reference"], before, atol=1e-4)
        np.testing.assert_allclose(
            found["effect"], (np.maximum(after, 0) - np.maximum(before, 0)) / np.log(2), atol=2e-4
        )
        assert found["consequences"] == list(edited.consequences)
    refused = (tmp_path / "effects.refused.tsv").read_text().splitlines()
    assert len(refused) == 7
    assert "<DEL>" in refused[1]
    assert refused[1].startswith("3\t")


def _vcf(variant: tuple[str, str, str]) -> tuple[str, str, str, str]:
    position, reference, alternative = variant
    return position, ".", reference, alternative


def test_wrong_reference_bases_are_told_by_line_and_spoil_nothing(
    package: Path, raw_inputs: dict[str, Path], rows: tuple[Genome, list[Transcript]], tmp_path: Path
) -> None:
    genome, transcripts = rows
    row = transcripts[0]
    position, base, other = snv(genome, row.contig, row.tss)
    listed = tmp_path / "variants.txt"
    listed.write_text(
        f"{row.contig}:{position}:{base}:{other}\n{row.contig}:{position}:{other}:{base}\nchrNone:5:A:C\n"
    )
    files = raw_inputs["genome"], raw_inputs["annotation"], listed
    counts = predict_variants(package, *files, tmp_path / "effects.parquet", tmp_path / "work")
    assert (counts.variants, counts.within_reach, counts.refused) == (3, 1, 2)
    refused = (tmp_path / "effects.refused.tsv").read_text()
    assert f"the genome's {base}" in refused
    assert "3\tchrNone:5:A:C" in refused
    listed.write_text(f"{row.contig}:{position}:{other}:{base}\n")
    with pytest.raises(InputError, match="in reach of a transcript"):
        predict_variants(package, *files, tmp_path / "none.parquet", tmp_path / "work")
    listed.write_text("chr1\tfive\t.\tA\tC\n")
    with pytest.raises(InputError, match="line 1"):
        predict_variants(package, *files, tmp_path / "none.parquet", tmp_path / "work")
    assert not list(tmp_path.glob("none*"))


def test_a_deletion_of_the_whole_rna_has_no_effect_to_tell(
    package: Path, raw_inputs: dict[str, Path], rows: tuple[Genome, list[Transcript]], tmp_path: Path
) -> None:
    genome, transcripts = rows
    row = next(one for one in transcripts if len(one.exon_starts) == 1)
    start, end = int(row.exon_starts[0]), int(row.exon_ends[0])
    bases = letters_of(genome.window(row.contig, start, end, "+"))
    listed = tmp_path / "variants.txt"
    listed.write_text(f"{row.contig}:{start + 1}:{bases}:-\n")
    files = raw_inputs["genome"], raw_inputs["annotation"], listed
    predict_variants(package, *files, tmp_path / "effects.parquet", tmp_path / "work")
    found = {item["transcript_id"]: item for item in pq.read_table(tmp_path / "effects.parquet").to_pylist()}
    assert found[row.transcript_id]["effect"] is None
    assert found[row.transcript_id]["caveats"] == ["rna_lost"]


def test_the_step_writes_one_artifact_of_either_kind(
    package: Path, raw_inputs: dict[str, Path], rows: tuple[Genome, list[Transcript]], tmp_path: Path
) -> None:
    genome, transcripts = rows
    row = transcripts[0]
    inputs = {"genome": raw_inputs["genome"], "annotation": raw_inputs["annotation"], "package": package}
    run(inputs, Params(), tmp_path / "all", tmp_path / "work")
    payload = open_artifact(tmp_path / "all", "predictions").payload
    summary = json.loads((payload / "summary.json").read_text())
    assert summary["transcripts"] == len(transcripts) == pq.read_table(payload / "predictions.parquet").num_rows
    assert "SIMULATED" in (payload / "report.html").read_text()
    listed = tmp_path / "variants.txt"
    listed.write_text(":".join([row.contig, *snv(genome, row.contig, row.tss)]) + "\n")
    run({**inputs, "variants": listed}, Params(), tmp_path / "effects", tmp_path / "work")
    payload = open_artifact(tmp_path / "effects", "predictions").payload
    assert json.loads((payload / "summary.json").read_text())["variants"] == 1
    assert "Strongest effects" in (payload / "report.html").read_text()
