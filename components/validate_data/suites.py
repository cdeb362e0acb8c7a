"""The checks of raw data, as data: what is asked of which frame, how grave it is, and how a person would say it.

Frames are built by components.validate_data.frames; expectations are classes of great_expectations.expectations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from components.sections import ValidateParams

Severity = Literal["block", "warn"]

# Frames that checks are asked of, and the column that names a record of each.
KEYS = {
    "files": "input",
    "contigs": "contig",
    "transcripts": "transcript_id",
    "expression": "transcript_id",
    "samples": "sample_id",
    "attributes": "sample_id",
    "tissues": "tissue",
}
# The input that a suite speaks about.
INPUT_OF_SUITE = {
    "genome": "genome",
    "annotation": "annotation",
    "expression": "expression",
    "sample attributes": "sample_attributes",
}


@dataclass(frozen=True)
class Check:
    """One expectation about one frame: `expected` says in words what holds when it passes."""

    suite: str
    frame: str
    name: str
    severity: Severity
    expectation: str
    arguments: Mapping[str, Any]
    expected: str


def all_checks(params: ValidateParams) -> list[Check]:
    """Every check, by suite in the order of the report."""
    return [*_files(), *_genome(params), *_annotation(params), *_expression(params), *_attributes(params)]


def unique(column: str) -> tuple[str, dict[str, Any]]:
    """Every value of the column once."""
    return "ExpectColumnValuesToBeUnique", {"column": column}


def present(column: str) -> tuple[str, dict[str, Any]]:
    """No value of the column missing."""
    return "ExpectColumnValuesToNotBeNull", {"column": column}


def between(column: str, low: float | None, high: float | None) -> tuple[str, dict[str, Any]]:
    """Values within bounds, both included; None is no bound."""
    return "ExpectColumnValuesToBeBetween", {"column": column, "min_value": low, "max_value": high}


def in_set(column: str, values: list[Any], *, mostly: float = 1.0) -> tuple[str, dict[str, Any]]:
    """Values of a set, in a share `mostly` of rows or more."""
    return "ExpectColumnValuesToBeInSet", {"column": column, "value_set": values, "mostly": mostly}


def row_count(least: int) -> tuple[str, dict[str, Any]]:
    """At least so many rows."""
    return "ExpectTableRowCountToBeBetween", {"min_value": least}


def _files() -> list[Check]:
    expected = (
        "whole files in their formats: FASTA of nucleotides with each contig once; GTF or GFF3 with each transcript in"
        " one place; TPM that are numbers of 0 or more, each transcript and sample once, each sample with a tissue; ids"
        " that match without ambiguity"
    )
    return [Check("files", "files", "can be read", "block", *in_set("problem", ["none"]), expected)]


def _genome(params: ValidateParams) -> list[Check]:
    def check(name: str, severity: Severity, asked: tuple[str, dict[str, Any]], expected: str) -> Check:
        return Check("genome", "contigs", name, severity, *asked, expected)

    return [
        check("has contigs", "block", row_count(1), "at least one contig"),
        check("contig names are unique", "block", unique("contig"), "every name once"),
        check("contigs have sequence", "block", between("length_bp", 1, None), "at least 1 bp in every contig"),
        check(
            "unknown bases",
            "warn",
            between("unknown_share", 0, params.warn_unknown_base_share),
            f"at most {params.warn_unknown_base_share:.0%} of a contig that are not A, C, G or T",
        ),
        check(
            "GC content",
            "warn",
            between("gc_share", params.warn_gc_low, params.warn_gc_high),
            f"{params.warn_gc_low:.0%} to {params.warn_gc_high:.0%} G and C in every contig",
        ),
    ]


def _annotation(params: ValidateParams) -> list[Check]:
    def check(name: str, severity: Severity, asked: tuple[str, dict[str, Any]], expected: str) -> Check:
        return Check("annotation", "transcripts", name, severity, *asked, expected)

    return [
        check(
            "has transcripts",
            "block",
            row_count(params.min_transcripts),
            f"{params.min_transcripts:,} or more",
        ),
        check("transcript ids are unique", "block", unique("transcript_id"), "every transcript id once"),
        check("transcripts have a gene", "block", present("gene_id"), "a gene id for every transcript"),
        check("strand", "warn", in_set("strand", ["+", "-"]), "+ or − for every transcript"),
        check(
            "transcripts have exons", "warn", between("exons", 1, None), "exons; a CDS stands in for them if need be"
        ),
        check(
            "contigs are in the genome",
            "block",
            in_set("contig_known", [True], mostly=params.min_contig_share),
            f"at least {params.min_contig_share:.0%} of transcripts on a contig that the genome holds",
        ),
        check(
            "all contigs are in the genome",
            "warn",
            in_set("contig_known", [True]),
            "every transcript on a contig that the genome holds",
        ),
        check("inside the contig", "block", between("past_contig_bp", 0, 0), "no exon past the end of its contig"),
        check(
            "exons do not overlap",
            "block",
            between("overlapping_exons", 0, 0),
            "no exon that overlaps another of its transcript: it would stand in the RNA twice",
        ),
        check("CDS lies in exons", "warn", in_set("cds_outside_exons", [False]), "no CDS base outside the exons"),
        check(
            "RNA length", "warn", between("rna_bp", 1, params.warn_rna_bp), f"1 to {params.warn_rna_bp:,} bp spliced"
        ),
    ]


def _expression(params: ValidateParams) -> list[Check]:
    def check(frame: str, name: str, severity: Severity, asked: tuple[str, dict[str, Any]], expected: str) -> Check:
        return Check("expression", frame, name, severity, *asked, expected)

    return [
        check("expression", "has transcripts", "block", row_count(1), "at least one transcript"),
        check("expression", "transcript ids are unique", "block", unique("transcript_id"), "every transcript id once"),
        check("expression", "TPM are numbers", "block", between("not_finite", 0, 0), "only finite numbers"),
        check("expression", "TPM are not negative", "block", between("lowest_tpm", 0, None), "0 or more everywhere"),
        check(
            "expression",
            "transcripts are annotated",
            "block",
            in_set("annotated", [True], mostly=params.min_matched_share),
            f"at least {params.min_matched_share:.0%} of transcripts found in the annotation",
        ),
        check(
            "expression",
            "most transcripts are annotated",
            "warn",
            in_set("annotated", [True], mostly=params.warn_matched_share),
            f"at least {params.warn_matched_share:.0%} of transcripts found in the annotation",
        ),
        check(
            "expression",
            "most transcripts are expressed",
            "warn",
            ("ExpectColumnValuesToBeBetween", {
                "column": "highest_tpm",
                "min_value": 0,
                "strict_min": True,
                "mostly": 1 - params.warn_unexpressed_share,
            }),
            f"at most {params.warn_unexpressed_share:.0%} of transcripts at 0 TPM in every sample",
        ),
        check("samples", "sample ids are unique", "block", unique("sample_id"), "every sample once"),
        check(
            "samples",
            "TPM sum per sample",
            "warn",
            between("tpm_sum", params.warn_tpm_sum_low, params.warn_tpm_sum_high),
            f"{params.warn_tpm_sum_low:,.0f} to {params.warn_tpm_sum_high:,.0f} TPM in every sample",
        ),
    ]  # fmt: skip


def _attributes(params: ValidateParams) -> list[Check]:
    def check(frame: str, name: str, severity: Severity, asked: tuple[str, dict[str, Any]], expected: str) -> Check:
        return Check("sample attributes", frame, name, severity, *asked, expected)

    return [
        check("attributes", "sample ids are unique", "block", unique("sample_id"), "every RNA-seq sample once"),
        check("attributes", "samples have an id", "block", present("sample_id"), "an id in every row"),
        check("attributes", "samples have a tissue", "warn", present("tissue"), "a tissue for every RNA-seq sample"),
        check("tissues", "has tissues", "block", row_count(params.min_tissues), f"{params.min_tissues} or more"),
        check(
            "tissues",
            "tissue coverage",
            "warn",
            row_count(params.warn_tissues),
            f"at least {params.warn_tissues} tissues, as the published model predicts",
        ),
        check(
            "tissues",
            "samples per tissue",
            "warn",
            between("samples", params.warn_samples_per_tissue, None),
            f"at least {params.warn_samples_per_tissue} samples in every tissue",
        ),
    ]
