"""Every check passes on sound frames, and fails, alone and naming the offender, on a frame with its flaw."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pandas as pd
import pytest

from components.sections import ValidateParams
from components.validate_data.runner import MAX_OFFENDERS, run_checks
from components.validate_data.suites import INPUT_OF_SUITE, KEYS, all_checks

Frames = dict[str, pd.DataFrame]
PARAMS = ValidateParams(min_transcripts=3, min_tissues=2, warn_tissues=2)


def sound_frames() -> Frames:
    ids = [f"T{number:02d}" for number in range(40)]
    samples = [f"S{number}" for number in range(6)]
    return {
        "files": pd.DataFrame(
            {"input": ["genome", "annotation", "expression", "sample_attributes"], "problem": ["none"] * 4}
        ),
        "contigs": pd.DataFrame(
            {"contig": ["chr1", "chr2"], "length_bp": [5000, 900], "gc_share": [0.4, 0.5], "unknown_share": [0.0, 0.1]}
        ),
        "transcripts": pd.DataFrame(
            {
                "transcript_id": ids,
                "gene_id": [f"G{number // 4}" for number in range(40)],
                "line": range(40),
                "contig": "chr1",
                "strand": ["+", "-"] * 20,
                "exons": 2,
                "rna_bp": 800,
                "overlapping_exons": 0,
                "cds_outside_exons": False,
                "contig_known": True,
                "past_contig_bp": 0,
            }
        ),
        "expression": pd.DataFrame(
            {"transcript_id": ids, "annotated": True, "not_finite": 0, "lowest_tpm": 0.0, "highest_tpm": 5.0}
        ),
        "samples": pd.DataFrame({"sample_id": samples, "tpm_sum": 1e6, "tissue": ["Brain", "Liver"] * 3}),
        "attributes": pd.DataFrame({"sample_id": [*samples, "S99"], "tissue": "Brain"}),
        "tissues": pd.DataFrame({"tissue": ["Brain", "Liver"], "samples": [3, 3]}),
    }


def with_value(frame: str, column: str, row: int, value: object) -> Callable[[Frames], None]:
    def spoil(frames: Frames) -> None:
        spoiled = frames[frame].astype({column: object})
        spoiled.loc[row, column] = value
        frames[frame] = spoiled if value is None else spoiled.infer_objects()

    return spoil


def without_rows(frame: str, kept: int) -> Callable[[Frames], None]:
    def spoil(frames: Frames) -> None:
        frames[frame] = frames[frame].iloc[:kept]

    return spoil


def every(frame: str, column: str, value: object) -> Callable[[Frames], None]:
    def spoil(frames: Frames) -> None:
        frames[frame][column] = value

    return spoil


# What is spoiled, and the checks (suite, name) that must fail, no others; then what the offender shows.
FLAWS = {
    "unreadable file": (with_value("files", "problem", 1, "cut short"), [("files", "can be read")], "annotation"),
    "no contig": (without_rows("contigs", 0), [("genome", "has contigs")], None),
    "contig twice": (with_value("contigs", "contig", 1, "chr1"), [("genome", "contig names are unique")], "chr1"),
    "empty contig": (with_value("contigs", "length_bp", 1, 0), [("genome", "contigs have sequence")], "chr2"),
    "mostly N": (with_value("contigs", "unknown_share", 1, 0.9), [("genome", "unknown bases")], "chr2"),
    "odd GC": (with_value("contigs", "gc_share", 0, 0.9), [("genome", "GC content")], "chr1"),
    "few transcripts": (without_rows("transcripts", 2), [("annotation", "has transcripts")], None),
    "id twice": (
        with_value("transcripts", "transcript_id", 5, "T04"),
        [("annotation", "transcript ids are unique")],
        "T04",
    ),
    "no gene": (with_value("transcripts", "gene_id", 5, None), [("annotation", "transcripts have a gene")], "T05"),
    "no strand": (with_value("transcripts", "strand", 5, "."), [("annotation", "strand")], "T05"),
    "no exon": (with_value("transcripts", "exons", 5, 0), [("annotation", "transcripts have exons")], "T05"),
    "one unknown contig": (
        with_value("transcripts", "contig_known", 5, False),
        [("annotation", "all contigs are in the genome")],
        "T05",
    ),
    "other assembly": (
        every("transcripts", "contig_known", False),
        [("annotation", "contigs are in the genome"), ("annotation", "all contigs are in the genome")],
        "T00",
    ),
    "past the contig": (
        with_value("transcripts", "past_contig_bp", 5, 7),
        [("annotation", "inside the contig")],
        "T05",
    ),
    "exons overlap": (
        with_value("transcripts", "overlapping_exons", 5, 1),
        [("annotation", "exons do not overlap")],
        "T05",
    ),
    "CDS outside": (
        with_value("transcripts", "cds_outside_exons", 5, True),
        [("annotation", "CDS lies in exons")],
        "T05",
    ),
    "giant RNA": (with_value("transcripts", "rna_bp", 5, 10**6), [("annotation", "RNA length")], "T05"),
    "empty table": (without_rows("expression", 0), [("expression", "has transcripts")], None),
    "row twice": (
        with_value("expression", "transcript_id", 5, "T04"),
        [("expression", "transcript ids are unique")],
        "T04",
    ),
    "not a number": (with_value("expression", "not_finite", 5, 1), [("expression", "TPM are numbers")], "T05"),
    "negative": (with_value("expression", "lowest_tpm", 5, -1.0), [("expression", "TPM are not negative")], "T05"),
    "nothing in common": (
        every("expression", "annotated", False),
        [("expression", "transcripts are annotated"), ("expression", "most transcripts are annotated")],
        "T00",
    ),
    "silent": (every("expression", "highest_tpm", 0.0), [("expression", "most transcripts are expressed")], "T00"),
    "sample twice": (with_value("samples", "sample_id", 1, "S0"), [("expression", "sample ids are unique")], "S0"),
    "odd sum": (with_value("samples", "tpm_sum", 1, 5.0), [("expression", "TPM sum per sample")], "S1"),
    "attributes twice": (
        with_value("attributes", "sample_id", 1, "S0"),
        [("sample attributes", "sample ids are unique")],
        "S0",
    ),
    "sample without id": (
        with_value("attributes", "sample_id", 1, None),
        [("sample attributes", "samples have an id")],
        "not given",
    ),
    "sample without tissue": (
        with_value("attributes", "tissue", 1, None),
        [("sample attributes", "samples have a tissue")],
        "S1",
    ),
    "one tissue": (
        without_rows("tissues", 1),
        [("sample attributes", "has tissues"), ("sample attributes", "tissue coverage")],
        None,
    ),
    "lonely sample": (with_value("tissues", "samples", 1, 1), [("sample attributes", "samples per tissue")], "Liver"),
}  # fmt: skip


@pytest.mark.parametrize("flaw", FLAWS)
def test_each_flaw_fails_its_own_checks_and_names_the_offender(flaw):
    spoil, expected, offender = FLAWS[flaw]
    frames = sound_frames()
    spoil(frames)
    (spoiled,) = (name for name, frame in sound_frames().items() if not frame.equals(frames[name]))
    checks = [check for check in all_checks(PARAMS) if check.frame == spoiled]
    failed = [result for result in run_checks(checks, frames, KEYS) if not result["passed"]]
    assert [(result["suite"], result["name"]) for result in failed] == expected
    if offender is not None:
        assert offender in failed[0]["offenders"][0].values()
    assert len(failed[0]["offenders"]) <= MAX_OFFENDERS


def test_sound_frames_pass_every_check_in_order():
    checks = all_checks(PARAMS)
    results = run_checks(checks, sound_frames(), KEYS)
    assert [(result["suite"], result["name"]) for result in results] == [(check.suite, check.name) for check in checks]
    assert all(result["passed"] for result in results)
    assert all(result["offenders"] == [] for result in results)


def test_every_check_has_a_flaw_that_fails_it_and_a_file_that_it_speaks_about():
    failing = {entry for _, expected, _ in FLAWS.values() for entry in expected}
    assert failing == {(check.suite, check.name) for check in all_checks(PARAMS)}
    assert {suite for suite, _ in failing} == {*INPUT_OF_SUITE, "files"}


def test_checks_of_an_unread_file_are_left_out():
    frames = sound_frames()
    del frames["expression"]
    names = {(result["suite"], result["name"]) for result in run_checks(all_checks(PARAMS), frames, KEYS)}
    assert ("expression", "TPM are numbers") not in names
    assert ("annotation", "strand") in names


def test_nothing_is_asked_of_the_network(monkeypatch):
    """Great Expectations sends usage statistics unless told not to."""

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"a connection was attempted: {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert run_checks(all_checks(PARAMS), sound_frames(), KEYS)
