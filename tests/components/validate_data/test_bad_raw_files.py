"""Every kind of bad raw file, at both steps that read it: the error names file, line and value, and nothing is left."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from components.artifacts import write_artifact
from components.extract_sequences.step import run as extract
from components.fabricate.step import run as fabricate
from components.params import load_params
from components.raw_data import find_raw_data
from components.sections import DataParams
from components.validate_data.step import run as validate
from model.errors import InputError

PARAMS = load_params(
    None, overrides=["fabricate.transcripts=60", "fabricate.contigs=1", "fabricate.samples_per_tissue=1"]
)
Inputs = dict[str, Path]
Lines = list[str]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("raw") / "raw"
    fabricate({}, PARAMS, folder, folder.parent / "work")
    return find_raw_data(folder, DataParams())


def edit(lines: Lines, row: int, column: int, value: str | None) -> Lines:
    """One tab-separated field replaced, or removed."""
    fields = lines[row].split("\t")
    fields[column : column + 1] = [] if value is None else [value]
    return [*lines[:row], "\t".join(fields), *lines[row + 1 :]]


def exon(lines: Lines) -> int:
    """The row of the first exon of the last transcript."""
    return max(number for number, line in enumerate(lines) if "\ttranscript\t" in line) + 1


def again(lines: Lines) -> Lines:
    first = next(number for number, line in enumerate(lines) if "\ttranscript\t" in line)
    return [*lines, lines[first]]


# What is done to which file, and what the error must say; `{row}` is the line of the last transcript's first exon.
CASES: dict[str, tuple[str, Callable[[Lines], Lines], str]] = {
    "eight columns": (
        "annotation",
        lambda lines: edit(lines, exon(lines), 5, None),
        r"annotation\.gtf, line {row}: expected nine tab-separated columns.* found 8 in",
    ),
    "exon outside its contig": (
        "annotation",
        lambda lines: edit(lines, exon(lines), 4, "90000000"),
        r"annotation\.gtf, line ({row}|{transcript}).*(90,000,000 of 'SIMT|SIMT.*, past_contig_bp 89)",
    ),
    "transcript twice": (
        "annotation",
        again,
        r"annotation\.gtf, line {last}: expected each transcript once, found duplicated transcript 'SIMT\d+\.1', alr",
    ),
    "fewer rows than announced": (
        "expression",
        lambda lines: lines[:-1],
        r"tpm\.gct, line 2: expected 60 rows, as this line says, found 59",
    ),
    "other samples than announced": (
        "expression",
        lambda lines: edit(lines, 1, 1, "31"),
        r"tpm\.gct, line 3: expected 31 samples, as line 2 says, found 30",
    ),
    "row cut short": (
        "expression",
        lambda lines: edit(lines, 7, 9, None),
        r"tpm\.gct, line 8: expected 32 columns, found 31",
    ),
    "no number": (
        "expression",
        lambda lines: edit(lines, 7, 9, "many"),
        r"tpm\.gct, line 8: expected TPM.* found 'many'",
    ),
    "negative": (
        "expression",
        lambda lines: edit(lines, 7, 9, "-0.5"),
        r"tpm\.gct, line 8: expected TPM.* found '-0\.5'",
    ),
    "row twice": (
        "expression",
        lambda lines: edit(lines, 7, 0, lines[3].split("\t")[0]),
        r"tpm\.gct, line 8: expected each transcript once, found duplicated 'SIMT\d+\.1', already on line 4",
    ),
    "sample without tissue": (
        "sample_attributes",
        lambda lines: edit(lines, 3, lines[0].split("\t").index("SMTS"), ""),
        r"attributes\.txt, line 4: expected a tissue for each sample of the expression table, found none for 'SYNTX-",
    ),
    "sample not described": (
        "sample_attributes",
        lambda lines: [*lines[:3], *lines[4:]],
        r"transcript_tpm\.gct\.gz: .*found none for 'SYNTX-.*attributes\.txt",
    ),
}
NAMES = {"annotation": "annotation.gtf", "expression": "tpm.gct", "sample_attributes": "attributes.txt"}


def refused(inputs: Inputs, folder: Path, step: str) -> str:
    """The error of the step, which leaves nothing but, of validation, its report in the work folder."""
    out = folder / "out"
    if step == "extract":
        with write_artifact(folder / "validation", kind="validation", inputs=inputs, config={}) as writer:
            (writer.payload / "result.json").write_text(json.dumps({"passed": True, "checks": []}))
        inputs = {**inputs, "validation": folder / "validation"}
    before = {path.name for path in folder.iterdir()}
    with pytest.raises(InputError) as error:
        (extract if step == "extract" else validate)(inputs, PARAMS, out, folder / "work")
    assert {path.name for path in folder.iterdir()} - before <= ({"work"} if step == "validate" else set())
    if step == "validate":
        left = {path.name for path in (folder / "work").rglob("*") if path.is_file()}
        assert left == {"report.html", "result.json"}
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("step", ["validate", "extract"])
@pytest.mark.parametrize("case", CASES)
def test_bad_text_is_told_by_file_line_and_value(raw: Inputs, tmp_path: Path, case: str, step: str) -> None:
    name, change, expected = CASES[case]
    content = raw[name].read_bytes()
    lines = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode().splitlines()
    target = tmp_path / NAMES[name]
    changed = change(lines)
    target.write_text("\n".join(changed) + "\n")
    message = refused({**raw, name: target}, tmp_path, step)
    row = exon(lines) + 1 if name == "annotation" else 0
    pattern = expected.format(row=f"{row:,}", transcript=f"{row - 1:,}", last=f"{len(changed):,}")
    assert re.search(pattern, message), message


@pytest.mark.parametrize("step", ["validate", "extract"])
@pytest.mark.parametrize("name", ["genome", "annotation", "expression"])
def test_a_truncated_gzip_is_told_by_file(raw: Inputs, tmp_path: Path, name: str, step: str) -> None:
    target = tmp_path / raw[name].name
    target.write_bytes(raw[name].read_bytes()[:-100])
    message = refused({**raw, name: target}, tmp_path, step)
    assert f"{target.name}: " in message
    assert "truncated or damaged" in message
