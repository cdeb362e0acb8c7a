"""The extraction step: from fabricated and from real files to a transcripts artifact, whole or not at all."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.artifacts import AlreadyComplete, open_artifact, write_artifact
from components.extract_sequences.export_fasta import export_fasta
from components.extract_sequences.step import run
from components.params import Params
from components.sections import ExtractParams
from components.sequences import Genome
from model.errors import InputError
from model.tokenizers import dna_codes, dna_string


def extract(raw: dict[str, Path], params: Params, folder: Path) -> Path:
    """Run the step on raw files that count as validated."""
    validation = folder / "validation"
    if not validation.exists():
        validated(raw, validation)
    run({**raw, "validation": validation}, params, folder / "transcripts", folder / "work")
    return folder / "transcripts" / "payload"


def validated(raw: dict[str, Path], out: Path, *, passed: bool = True) -> None:
    """A validation artifact of these files, so that extraction has to judge them itself."""
    result = {"passed": passed, "checks": [{"name": "ids are unique", "passed": passed, "severity": "block"}]}
    with write_artifact(out, kind="validation", inputs=raw, config={}) as writer:
        (writer.payload / "result.json").write_text(json.dumps(result))


@pytest.fixture(scope="module")
def payload(raw_inputs: dict[str, Path], sanity_params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the fabricated data."""
    return extract(raw_inputs, sanity_params, tmp_path_factory.mktemp("extract"))


def test_artifact_holds_what_it_promises(payload: Path, sanity_params: Params) -> None:
    """All 300 simulated transcripts or a counted reason; labels finite; RNA, CDS, protein and window fit together."""
    table = pq.read_table(payload / "transcripts.parquet")
    facts = json.loads((payload / "dataset.json").read_text())
    assert facts["simulated"]
    assert facts["counts"]["rows"] == len(table) == 300 - sum(facts["counts"]["dropped"].values())
    assert sum(facts["counts"]["rows_per_split"].values()) == len(table)
    assert len(facts["tissues"]) == len(facts["label_mean"]) == len(facts["label_std"]) == 30
    labels = table["labels"].combine_chunks().flatten().to_numpy()
    assert np.isfinite(labels).all()
    assert labels.min() >= 0
    genome = Genome.open(payload / "genome.safetensors")
    rows = table.to_pylist()
    assert [(genome.contigs.index(r["contig"]), r["tss"], r["transcript_id"]) for r in rows] == sorted(
        (genome.contigs.index(r["contig"]), r["tss"], r["transcript_id"]) for r in rows
    )
    for row in rows:
        assert row["window_end"] - row["window_start"] == sanity_params.extract.window_bp
        window = genome.window(row["contig"], row["window_start"], row["window_end"], row["strand"])
        first = row["rna"][:8]
        middle = len(window) // 2
        exon_bp = row["exon_ends"][0] - row["exon_starts"][0]
        if exon_bp >= 8 and row["strand"] == "+":
            assert dna_string(window[middle : middle + 8]) == first
        assert sum(end - start for start, end in zip(row["exon_starts"], row["exon_ends"], strict=True)) == len(
            row["rna"]
        )
        if row["protein"]:
            codons = (row["cds_end"] - row["cds_start"] - row["cds_phase"]) // 3
            assert len(row["protein"]) == codons
    statistics = table.filter(np.array(table["split"].to_pylist()) == "train")["labels"].combine_chunks()
    train = statistics.flatten().to_numpy().reshape(-1, 30).astype(np.float64)
    np.testing.assert_allclose(train.mean(0), facts["label_mean"], rtol=1e-9)


def test_same_input_gives_the_same_bytes(
    payload: Path, raw_inputs: dict[str, Path], sanity_params: Params, tmp_path: Path
) -> None:
    """Elsewhere, from copies; and a second run at the same place finds it done."""
    folder = tmp_path / "copies"
    folder.mkdir()
    copies = {name: Path(shutil.copy(path, folder / path.name)) for name, path in raw_inputs.items()}
    again = extract(copies, sanity_params, tmp_path)
    assert {path.name: path.read_bytes() for path in payload.iterdir()} == {
        path.name: path.read_bytes() for path in again.iterdir()
    }
    with pytest.raises(AlreadyComplete):
        extract(copies, sanity_params, tmp_path)


def test_artifact_verifies_and_holds_no_place_of_this_machine(payload: Path, tmp_path: Path) -> None:
    """Neither path nor host nor time."""
    open_artifact(payload.parent, "transcripts")
    text = (payload / "dataset.json").read_text()
    assert str(payload) not in text
    assert "/tmp" not in text


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *itertools.product(["genome", "annotation", "expression"], ["empty", "truncated", "other"]),
        # A shorter plain text is a table still: the samples that it lacks are told elsewhere.
        *itertools.product(["sample_attributes"], ["empty", "other"]),
    ],
)
def test_damaged_input_leaves_nothing_behind(
    raw_inputs: dict[str, Path], sanity_params: Params, tmp_path: Path, name: str, damage: str
) -> None:
    """One error of the project's own that names the file."""
    bad = tmp_path / raw_inputs[name].name
    content = raw_inputs[name].read_bytes()
    bad.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "other": b"something else\n"}[damage])
    with pytest.raises(InputError) as error:
        extract({**raw_inputs, name: bad}, sanity_params, tmp_path)
    assert bad.name in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} <= {bad.name, "validation", "work"}


def test_nothing_in_common_is_refused(raw_inputs: dict[str, Path], sanity_params: Params, tmp_path: Path) -> None:
    """Expression of other transcripts."""
    import gzip

    other = tmp_path / "other.gct"
    other.write_text(gzip.decompress(raw_inputs["expression"].read_bytes()).decode().replace("SIMT", "ELSE"))
    with pytest.raises(InputError, match="transcripts in common with the annotation"):
        extract({**raw_inputs, "expression": other}, sanity_params, tmp_path)


def test_data_that_did_not_pass_is_refused(raw_inputs: dict[str, Path], sanity_params: Params, tmp_path: Path) -> None:
    """The verdict of validation is read, not only its presence."""
    validated(raw_inputs, tmp_path / "validation", passed=False)
    with pytest.raises(InputError, match="blocking checks that failed: ids are unique"):
        extract(raw_inputs, sanity_params, tmp_path)


def test_fasta_round_trip(payload: Path, tmp_path: Path) -> None:
    """What a biologist opens is what the table holds; a file that is there is not overwritten."""
    counts = export_fasta(payload.parent, tmp_path / "fasta")
    rows = pq.read_table(payload / "transcripts.parquet").to_pylist()
    records: dict[str, dict[str, str]] = {}
    for name in ("rna.fa", "cds.fa", "protein.fa"):
        parts = (tmp_path / "fasta" / name).read_text().split(">")[1:]
        records[name] = {part.split()[0]: "".join(part.splitlines()[1:]) for part in parts}
        assert len(records[name]) == counts[name]
        assert max(len(line) for part in parts for line in part.splitlines()[1:]) <= 70
    assert records["rna.fa"] == {row["transcript_id"]: row["rna"] for row in rows}
    assert records["protein.fa"] == {row["transcript_id"]: row["protein"] for row in rows if row["protein"]}
    for row in rows:
        if row["cds_start"] >= 0:
            cds = row["rna"][row["cds_start"] + row["cds_phase"] : row["cds_end"]]
            assert records["cds.fa"][row["transcript_id"]] == cds
            assert dna_codes(cds).max() <= 3
    with pytest.raises(InputError, match=r"rna\.fa: expected no such file"):
        export_fasta(payload.parent, tmp_path / "fasta")


def test_real_pieces_of_the_genome_with_simulated_expression(
    shared: Path, sanity_params: Params, tmp_path: Path
) -> None:
    """811 transcripts of GENCODE and RefSeq; those without expression are counted."""
    inputs = {
        "genome": shared / "genome" / "demo.fa.gz",
        "annotation": shared / "annotation" / "demo.gtf.gz",
        "expression": shared / "expression_simulated" / "SEMISYNTHETIC_transcript_tpm.gct.gz",
        "sample_attributes": shared / "expression_simulated" / "SEMISYNTHETIC_SampleAttributesDS.txt.gz",
    }
    params = sanity_params.model_copy(update={"extract": ExtractParams(window_bp=512)})
    payload = extract(inputs, params, tmp_path)
    facts = json.loads((payload / "dataset.json").read_text())
    assert facts["simulated"]
    assert facts["id_matching"]["exact"] == 811
    assert facts["counts"]["dropped"]["not_measured"] == 1005 - 811
    assert facts["counts"]["rows"] + sum(facts["counts"]["dropped"].values()) == 1005
    assert set(facts["counts"]["rows_per_split"]) == {"train", "valid", "test"}
