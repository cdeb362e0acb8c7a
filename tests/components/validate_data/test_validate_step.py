"""The validation step on real files: sound data pass, each kind of bad data stops the run and says where and why."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from components.artifacts import open_artifact
from components.fabricate.step import run as fabricate
from components.params import Params, load_params
from components.raw_data import find_raw_data
from components.sections import DataParams
from components.validate_data.step import run
from model.errors import InputError

PARAMS = load_params(None, overrides=["fabricate.transcripts=80", "fabricate.contigs=2"])
SHARED = Path(__file__).parents[4] / "shared" / "data"
Inputs = dict[str, Path]


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("raw") / "raw"
    fabricate({}, PARAMS, folder, folder.parent / "work")
    return find_raw_data(folder, DataParams())


@pytest.fixture(scope="session")
def validation(raw: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("validation") / "out"
    run(raw, PARAMS, out, out.parent / "work")
    return out


def edited(source: Path, target: Path, change: Callable[[list[str]], list[str]]) -> Path:
    """A copy of a text file, gzipped or not, with its lines changed."""
    reader, writer = (gzip.open, gzip.open) if source.suffix == ".gz" else (open, open)
    with reader(source, "rt", encoding="utf-8") as handle:
        lines = change(handle.read().splitlines())
    with writer(target, "wt", encoding="utf-8") as handle:
        handle.write("\n".join(lines) + "\n")
    return target


def cell(row: int, column: int, value: str) -> Callable[[list[str]], list[str]]:
    """Lines with one tab-separated field replaced."""

    def change(lines: list[str]) -> list[str]:
        fields = lines[row].split("\t")
        fields[column] = value
        return [*lines[:row], "\t".join(fields), *lines[row + 1 :]]

    return change


def refused(inputs: Inputs, folder: Path, params: Params = PARAMS) -> tuple[str, str]:
    """The message that the step raises, and the report that it names; nothing may be left at `out`."""
    out = folder / "out"
    with pytest.raises(InputError) as caught:
        run(inputs, params, out, folder / "work")
    assert not out.exists()
    assert list(folder.glob(".out*")) == []
    message = str(caught.value)
    assert "\n" not in message
    report = Path(message.split(": ")[-1])
    return message, report.read_text(encoding="utf-8")


def test_sound_data_pass_and_leave_a_verified_artifact(validation):
    artifact = open_artifact(validation, "validation")
    assert {entry["path"] for entry in artifact.manifest["files"]} == {"result.json", "report.html"}
    result = json.loads((artifact.payload / "result.json").read_text(encoding="utf-8"))
    assert result["passed"] is True
    assert result["simulated"] is True
    assert [check["name"] for check in result["checks"] if not check["passed"]] == []
    assert {"files", "genome", "annotation", "expression", "sample attributes"} == {
        check["suite"] for check in result["checks"]
    }


def test_report_stands_alone_and_says_simulated(validation):
    html = (validation / "payload" / "report.html").read_text(encoding="utf-8")
    assert "SIMULATED" in html
    assert "<script" not in html
    assert "<link" not in html
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:|#)[a-z]""", html)


def test_two_runs_give_the_same_payload_and_it_holds_no_path(validation, raw, tmp_path):
    run(raw, PARAMS, tmp_path / "again", tmp_path / "work")
    assert open_artifact(tmp_path / "again", "validation").digest == open_artifact(validation, "validation").digest
    for file in (validation / "payload").iterdir():
        assert str(raw["genome"].parent) not in file.read_text(encoding="utf-8")


def test_negative_tpm_is_told_with_its_line(raw, tmp_path):
    inputs = {**raw, "expression": edited(raw["expression"], tmp_path / "t.gct.gz", cell(7, 4, "-1.5"))}
    message, report = refused(inputs, tmp_path)
    assert "line 8" in message
    assert "-1.5" in message
    assert "Blocked" in report


def test_truncated_genome_is_told_and_the_other_files_are_still_reported(raw, tmp_path):
    cut = tmp_path / "genome.fa.gz"
    cut.write_bytes(raw["genome"].read_bytes()[:-2000])
    message, report = refused({**raw, "genome": cut}, tmp_path)
    assert "genome.fa.gz" in message
    assert "truncated" in message or "damaged" in message
    assert "Isoforms per gene" in report or "Distributions" in report


def test_empty_annotation_is_told(raw, tmp_path):
    empty = tmp_path / "annotation.gtf"
    empty.touch()
    message, _ = refused({**raw, "annotation": empty}, tmp_path)
    assert "annotation.gtf" in message
    assert "empty" in message


def test_two_bad_files_are_both_in_the_report(raw, tmp_path):
    empty = tmp_path / "annotation.gtf"
    empty.touch()
    table = edited(raw["expression"], tmp_path / "t.gct.gz", cell(7, 4, "many"))
    _, report = refused({**raw, "annotation": empty, "expression": table}, tmp_path)
    assert "annotation.gtf" in report
    assert "many" in report


def test_no_transcript_in_common_is_told_with_examples(raw, tmp_path):
    def rename(lines: list[str]) -> list[str]:
        return [line.replace("SIMT", "ENST") if number > 2 else line for number, line in enumerate(lines)]

    inputs = {**raw, "expression": edited(raw["expression"], tmp_path / "t.gct.gz", rename)}
    message, report = refused(inputs, tmp_path)
    assert "in common" in message
    assert "ENST" in message
    assert "transcripts are annotated" in report


def test_annotation_of_another_assembly_is_told_with_the_first_offender(raw, tmp_path):
    def move(lines: list[str]) -> list[str]:
        return [line if line.startswith("#") else "other" + line for line in lines]

    message, report = refused({**raw, "annotation": edited(raw["annotation"], tmp_path / "a.gtf.gz", move)}, tmp_path)
    assert "contigs are in the genome" in message
    assert "SIMT" in message
    assert "otherchr" in report or "contig known" in report


def test_exon_past_its_contig_is_told_with_its_transcript(raw, tmp_path):
    def stretch(lines: list[str]) -> list[str]:
        exons = [number for number, line in enumerate(lines) if "\texon\t" in line]
        return cell(exons[-1], 4, "90000000")(lines)

    message, _ = refused({**raw, "annotation": edited(raw["annotation"], tmp_path / "a.gtf.gz", stretch)}, tmp_path)
    assert "inside the contig" in message or "overlap" in message
    assert "SIMT" in message


def test_sample_without_tissue_is_told(raw, tmp_path):
    def forget(lines: list[str]) -> list[str]:
        return [lines[0], *lines[2:]]

    inputs = {**raw, "sample_attributes": edited(raw["sample_attributes"], tmp_path / "s.txt", forget)}
    message, _ = refused(inputs, tmp_path)
    assert "tissue" in message
    assert "SYNTX-" in message


def test_warnings_are_reported_and_stop_nothing(raw, tmp_path):
    params = load_params(
        None, overrides=["validate_data.warn_samples_per_tissue=50", "validate_data.warn_tpm_sum_low=2.0e6",
                         "validate_data.warn_tpm_sum_high=3.0e6"],
    )  # fmt: skip
    run(raw, params, tmp_path / "out", tmp_path / "work")
    result = json.loads((tmp_path / "out" / "payload" / "result.json").read_text(encoding="utf-8"))
    failed = {check["name"]: check for check in result["checks"] if not check["passed"]}
    assert set(failed) == {"samples per tissue", "TPM sum per sample"}
    assert result["passed"] is True
    assert failed["samples per tissue"]["offenders"][0]["tissue"] == "Adipose Tissue"


def test_thresholds_come_from_the_parameters(raw, tmp_path):
    params = load_params(None, overrides=["validate_data.min_transcripts=100000"])
    message, _ = refused(raw, tmp_path, params)
    assert "has transcripts" in message


def test_refused_data_can_be_corrected_and_checked_again_in_the_same_place(raw, tmp_path):
    bad = {**raw, "expression": edited(raw["expression"], tmp_path / "t.gct.gz", cell(7, 4, "-1"))}
    refused(bad, tmp_path)
    run(raw, PARAMS, tmp_path / "out", tmp_path / "work")
    assert open_artifact(tmp_path / "out", "validation")


def test_real_genome_and_annotation_pass(tmp_path):
    """GRCh38 pieces, GENCODE v24 and RefSeq annotation, a semi-synthetic expression table."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there: real genome, annotation and tables are NOT checked")
    names = {
        "genome": "genome/demo.fa.gz",
        "annotation": "annotation/demo.gtf.gz",
        "expression": "expression_simulated/SEMISYNTHETIC_transcript_tpm.gct.gz",
        "sample_attributes": "expression_simulated/SEMISYNTHETIC_SampleAttributesDS.txt.gz",
    }
    run({name: SHARED / path for name, path in names.items()}, PARAMS, tmp_path / "out", tmp_path / "work")
    result = json.loads((tmp_path / "out" / "payload" / "result.json").read_text(encoding="utf-8"))
    assert [check["name"] for check in result["checks"] if not check["passed"]] == ["TPM sum per sample"]
    assert result["simulated"] is True
