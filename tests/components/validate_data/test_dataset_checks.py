"""Checks of an extracted dataset: each planted flaw fails its own checks, and what fails blocks the extraction step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.artifacts import open_artifact
from components.params import Params
from components.validate_data.dataset import check_dataset, checked
from components.validate_data.table_suites import table_checks
from model.errors import InputError

Table = dict[str, list[Any]]


@pytest.fixture(scope="module")
def sound(transcripts: Path) -> Path:
    return open_artifact(transcripts, "transcripts").payload


def spoiled(sound: Path, folder: Path, change: Callable[[Table, dict[str, Any]], object]) -> Path:
    """A copy of the payload whose table and description were changed."""
    payload = folder / "payload"
    payload.mkdir(parents=True)
    shutil.copyfile(sound / "genome.safetensors", payload / "genome.safetensors")
    found = pq.read_table(sound / "transcripts.parquet")
    rows, facts = found.to_pydict(), json.loads((sound / "dataset.json").read_text(encoding="utf-8"))
    change(rows, facts)
    schema = found.schema
    if rows.keys() != set(found.schema.names):
        schema = pa.schema([field for field in found.schema if field.name in rows])
    pq.write_table(pa.table(rows, schema=schema), payload / "transcripts.parquet")
    (payload / "dataset.json").write_text(json.dumps(facts), encoding="utf-8")
    return payload


def cell(column: str, value: Callable[[Any], Any] | Any, where: str = "coding") -> Callable[[Table, Any], None]:
    """Change one value: of the second coding row on the plus strand, or the second row of all."""

    def change(rows: Table, facts: Any) -> None:
        fits = [
            index
            for index, status in enumerate(rows["coding_status"])
            if where != "coding" or (status == "coding" and rows["strand"][index] == "+" and rows["protein"][index])
        ]
        old = rows[column][fits[1]]
        rows[column][fits[1]] = value(old) if callable(value) else value

    return change


def fact(value: Callable[[dict[str, Any]], None]) -> Callable[[Table, Any], object]:
    return lambda rows, facts: value(facts)


def leak(facts: dict[str, Any]) -> None:
    facts["leakage_audit"]["genes"] = {"count": 2, "blocks": True, "examples": ["G1 (train) and G1 (test)"]}


def no_test_rows(rows: Table, facts: Any) -> None:
    rows["split"] = ["train" if split == "test" else split for split in rows["split"]]


def stops(share: float) -> Callable[[Table, Any], None]:
    def change(rows: Table, facts: Any) -> None:
        coding = [index for index, protein in enumerate(rows["protein"]) if protein]
        for index in coding[: max(1, int(share * len(coding)))]:
            rows["protein"][index] = rows["protein"][index][:3] + "*" + rows["protein"][index][4:]

    return change


def flat_tissue(rows: Table, facts: Any) -> None:
    rows["labels"] = [[0.0, *labels[1:]] for labels in rows["labels"]]


# What is changed, and the checks that must fail by it. Flaws of one group do not touch each other.
Flaw = tuple[Callable[[Table, Any], object], set[str]]
FLAWS: dict[str, dict[str, Flaw]] = {
    "first": {
        "id twice": (
            lambda rows, facts: rows["transcript_id"].__setitem__(1, rows["transcript_id"][0]),
            {"transcript ids are unique"},
        ),
        "odd split": (cell("split", "holdout"), {"split"}),
        "odd status": (cell("coding_status", "maybe", where="any"), {"coding status"}),
        "odd letter in RNA": (cell("rna", lambda rna: "U" + rna[1:]), {"RNA alphabet"}),
        "odd residue": (cell("protein", lambda protein: "1" + protein[1:]), {"protein alphabet"}),
        "window shifted": (cell("tss", lambda tss: tss + 1), {"TSS is the first base", "window is centred"}),
        "label not a number": (cell("labels", lambda old: [float("nan"), *old[1:]]), {"labels are numbers"}),
        "unreliable": (fact(lambda facts: facts["label_reliability"].__setitem__(3, 0.01)), {"labels are reliable"}),
        "no match": (
            fact(lambda facts: facts["id_matching"].update(expression_only=10**6)),
            {"transcripts are matched"},
        ),
    },
    "second": {
        "RNA too short": (cell("rna", lambda rna: rna[:-1]), {"RNA is the exons’"}),
        "window too long": (cell("window_end", lambda end: end + 2), {"window length", "window is centred"}),
        "label negative": (cell("labels", lambda old: [-1.0, *old[1:]]), {"labels are not negative"}),
        "leak": (fact(leak), {"nothing leaks", "nothing is shared"}),
        "many stops": (stops(0.2), {"stop codons inside the CDS", "few stop codons inside the CDS"}),
    },
    "third": {
        "RNA of N": (cell("rna", lambda rna: "N" * len(rna)), {"unknown bases"}),
        "other contig": (cell("contig", "chrZ"), {"inside the contig"}),
        "protein cut": (cell("protein", lambda protein: protein[:-5]), {"protein fits the CDS"}),
        "label in TPM": (cell("labels", lambda old: [5000.0, *old[1:]]), {"labels are possible"}),
        "left out": (fact(lambda facts: facts["id_matching"].update(exact=10**5)), {"transcripts are kept"}),
        "some stops": (stops(0.02), {"stop codons inside the CDS"}),
    },
    "fourth": {
        "CDS past the RNA": (cell("cds_end", 10**6), {"CDS lies in the RNA", "protein fits the CDS"}),
        "silent tissue": (flat_tissue, {"tissues are expressed", "labels vary"}),
        "split empty": (no_test_rows, {"three splits"}),
    },
    "fifth": {"column missing": (lambda rows, facts: rows.pop("tags"), {"columns"})},
}
# Held by other checks or by the schema, whose columns are not nullable.
IMPLIED = {
    *("has transcripts", "genes are named", "strand", "exons are in order", "RNA length", "tissue coverage"),
    "genes of each split",
}


@pytest.mark.parametrize("group", FLAWS)
def test_each_flaw_fails_its_own_checks(group: str, sound: Path, sanity_params: Params, tmp_path: Path) -> None:
    def change(rows: Table, facts: Any) -> None:
        for apply, _ in FLAWS[group].values():
            apply(rows, facts)

    usual = {item["name"] for item in json.loads((sound / "checks.json").read_text())["checks"] if not item["passed"]}
    results = checked(spoiled(sound, tmp_path, change), sanity_params, None)[1]
    failed = {item["name"]: item for item in results if not item["passed"] and item["name"] not in usual}
    expected = set().union(*(names for _, names in FLAWS[group].values()))
    assert set(failed) == expected - usual
    assert all(item["offenders"] for item in failed.values() if item["name"] != "three splits")


def test_every_check_has_a_flaw(sanity_params: Params) -> None:
    """Drift has tests of its own."""
    checks = table_checks(sanity_params.validate_data, sanity_params.extract)
    names = {check.name for check in checks if check.frame not in ("drift", "continuity")}
    assert names - IMPLIED == {name for group in FLAWS.values() for _, found in group.values() for name in found}


def test_the_artifact_holds_checks_and_a_report_that_stands_alone(transcripts: Path) -> None:
    payload = transcripts / "payload"
    content = json.loads((payload / "checks.json").read_text(encoding="utf-8"))
    assert content["passed"]
    assert content["previous_dataset_version"] is None
    assert not [item for item in content["checks"] if not item["passed"] and item["severity"] == "block"]
    assert {item["suite"] for item in content["checks"]} == {
        "extracted table", "sequences", "coding sequence", "labels", "splits",
    }  # fmt: skip
    html = (payload / "report.html").read_text(encoding="utf-8")
    assert "SIMULATED" in html
    assert "<script" not in html
    assert "prefers-color-scheme:dark" in html


def test_a_blocking_check_writes_its_report_elsewhere_and_says_where(
    sound: Path, sanity_params: Params, tmp_path: Path
) -> None:
    payload = spoiled(sound, tmp_path, cell("protein", lambda protein: "1" + protein[1:]))
    report = tmp_path / "scratch"
    report.mkdir()
    with pytest.raises(InputError) as error:
        check_dataset(payload, sanity_params, previous=None, place="out", scratch=lambda: report)
    line = str(error.value)
    assert "check 'protein alphabet': expected residues, U, X and *, found 1 of" in line
    assert "first: transcript_id SIMT" in line
    assert str(report / "report.html") in line
    assert {path.name for path in payload.iterdir()} == {"transcripts.parquet", "dataset.json", "genome.safetensors"}
    assert "Blocked" in (report / "report.html").read_text(encoding="utf-8")


def test_all_of_a_failed_check_s_first_records_are_shown(sound: Path, sanity_params: Params, tmp_path: Path) -> None:
    payload = spoiled(sound, tmp_path, stops(0.5))
    (found,) = [item for item in checked(payload, sanity_params, None)[1] if item["name"].startswith("few stop")]
    assert len(found["offenders"]) == 10
    assert len({item["transcript_id"] for item in found["offenders"]}) == 10


def test_letters_are_counted_like_one_by_one() -> None:
    """Empty, missing and sliced texts among others."""
    from components.validate_data.table_frames import _letters

    rng = np.random.default_rng(1)
    texts = ["", None, *("".join(rng.choice(list("ACGTNX"), size)) for size in rng.integers(0, 3000, 60)), ""]
    array = pa.array(texts, pa.string())[1:]
    length, other, unknown, chosen = _letters(array, known=b"ACGTN", unknown=b"N", chosen=b"GC")
    for index, text in enumerate(texts[1:]):
        letters = text or ""
        assert length[index] == len(letters)
        assert other[index] == letters.count("X")
        assert unknown[index] == letters.count("N")
        assert chosen[index] == letters.count("G") + letters.count("C")
