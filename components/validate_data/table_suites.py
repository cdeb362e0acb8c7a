"""The checks of what extraction made, as data: of its columns, rows, labels, splits, and of its drift.

Frames are built by table_frames and drift; expectations are classes of great_expectations.expectations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from components.extract_sequences.splits import SPLITS
from components.sections import ExtractParams, ValidateParams
from components.validate_data.suites import Check, Severity, between, in_set, present, row_count, unique

# The column that names a record of each frame.
KEYS = {
    "columns": "column",
    "rows": "transcript_id",
    "labels": "tissue",
    "splits": "split",
    "leakage": "kind",
    "dataset": "name",
    "drift": "statistic",
    "continuity": "name",
}
# No mean of TPM exceeds a million.
_HIGHEST_LABEL = float(np.log1p(1e6)) + 1e-4


def table_checks(params: ValidateParams, extract: ExtractParams) -> list[Check]:
    """Every check of an extracted dataset, by suite in the order of the report."""
    return [
        *_schema(),
        *_sequences(params, extract),
        *_coding(params),
        *_labels(params, extract),
        *_splits(params),
        *_drift(params),
    ]


def _check(
    suite: str, frame: str, name: str, severity: Severity, asked: tuple[str, Mapping[str, Any]], expected: str
) -> Check:
    return Check(suite, frame, name, severity, *asked, expected)


def _schema() -> list[Check]:
    suite = "extracted table"
    return [
        _check(
            suite, "columns", "columns", "block", in_set("as_documented", [True]), "the documented columns and types"
        ),
        _check(suite, "rows", "has transcripts", "block", row_count(1), "at least one transcript"),
        _check(
            suite, "rows", "transcript ids are unique", "block", unique("transcript_id"), "every transcript id once"
        ),
        _check(suite, "rows", "genes are named", "block", present("gene_id"), "a gene id in every row"),
        _check(suite, "rows", "strand", "block", in_set("strand", ["+", "-"]), "+ or −"),
        _check(
            suite,
            "rows",
            "coding status",
            "block",
            in_set("coding_status", ["coding", "non_coding", "unknown"]),
            "coding, non_coding or unknown",
        ),
        _check(suite, "rows", "split", "block", in_set("split", list(SPLITS)), ", ".join(SPLITS)),
    ]


def _sequences(params: ValidateParams, extract: ExtractParams) -> list[Check]:
    suite = "sequences"
    return [
        _check(
            suite, "rows", "inside the contig", "block", between("past_contig_bp", 0, 0), "exons inside their contig"
        ),
        _check(
            suite,
            "rows",
            "exons are in order",
            "block",
            between("disordered_exons", 0, 0),
            "ascending exons that do not overlap",
        ),
        _check(
            suite,
            "rows",
            "RNA is the exons’",
            "block",
            between("rna_missing_bp", 0, 0),
            "as many bases as the exons have",
        ),
        _check(suite, "rows", "RNA alphabet", "block", between("rna_other", 0, 0), "A, C, G, T and N alone"),
        _check(
            suite,
            "rows",
            "RNA length",
            "warn",
            between("rna_bp", 1, params.warn_rna_bp),
            f"1 to {params.warn_rna_bp:,} bp",
        ),
        _check(
            suite,
            "rows",
            "unknown bases",
            "warn",
            between("unknown_share", 0, params.warn_unknown_base_share),
            f"at most {params.warn_unknown_base_share:.0%} N in an RNA",
        ),
        _check(
            suite,
            "rows",
            "window length",
            "block",
            between("window_bp", extract.window_bp, extract.window_bp),
            f"DNA windows of {extract.window_bp:,} bp",
        ),
        _check(
            suite,
            "rows",
            "TSS is the first base",
            "block",
            in_set("tss_is_first_base", [True]),
            "the first exon’s 5′ end",
        ),
        _check(
            suite,
            "rows",
            "window is centred",
            "block",
            between("tss_off_centre_bp", 0, 0),
            "the TSS base in the middle of the window, on both strands",
        ),
    ]


def _coding(params: ValidateParams) -> list[Check]:
    suite = "coding sequence"

    def stops(severity: Severity, share: float) -> Check:
        # Of rows with a protein; a frame of its own would say the same of fewer rows.
        asked = in_set("read_through_stops", [False], mostly=1 - share)
        name = "stop codons inside the CDS" if severity == "warn" else "few stop codons inside the CDS"
        return _check(suite, "proteins", name, severity, asked, f"none in {1 - share:.1%} of proteins or more")

    return [
        _check(
            suite,
            "rows",
            "CDS lies in the RNA",
            "block",
            in_set("cds_inside_rna", [True]),
            "0 ≤ start < end ≤ RNA length",
        ),
        _check(suite, "proteins", "protein alphabet", "block", between("protein_other", 0, 0), "residues, U, X and *"),
        _check(
            suite,
            "proteins",
            "protein fits the CDS",
            "block",
            between("residues_off", 0, 2),
            "a residue for every codon",
        ),
        stops("block", params.max_internal_stop_share),
        stops("warn", params.warn_internal_stop_share),
    ]


def _labels(params: ValidateParams, extract: ExtractParams) -> list[Check]:
    suite = "labels"
    least = len(extract.tissues) or params.min_tissues
    return [
        _check(suite, "rows", "labels are numbers", "block", between("labels_not_finite", 0, 0), "finite labels alone"),
        _check(suite, "rows", "labels are not negative", "block", between("lowest_label", 0, None), "0 or more"),
        _check(
            suite,
            "rows",
            "labels are possible",
            "block",
            between("highest_label", None, _HIGHEST_LABEL),
            "at most log1p of a million TPM",
        ),
        _check(suite, "labels", "tissue coverage", "block", row_count(least), f"{least} tissues or more"),
        _check(
            suite,
            "labels",
            "tissues are expressed",
            "warn",
            between("expressed_share", params.warn_expressed_share, None),
            f"above 0.1 TPM in at least {params.warn_expressed_share:.0%} of transcripts, in every tissue",
        ),
        _check(
            suite,
            "labels",
            "labels vary",
            "warn",
            between("train_sd", params.warn_label_sd, None),
            f"a standard deviation of {params.warn_label_sd:g} or more over training transcripts",
        ),
        _check(
            suite,
            "labels",
            "labels are reliable",
            "warn",
            between("reliability", params.warn_reliability, None),
            f"split-half reliability of {params.warn_reliability:g} or more: no model’s R² exceeds it",
        ),
    ]


def _splits(params: ValidateParams) -> list[Check]:
    suite = "splits"
    return [
        _check(
            suite,
            "dataset",
            "transcripts are matched",
            "block",
            between("matched_share", params.min_matched_share, None),
            f"at least {params.min_matched_share:.0%} of measured transcripts",
        ),
        _check(
            suite,
            "dataset",
            "transcripts are kept",
            "warn",
            between("kept_share", params.warn_kept_share, None),
            f"at least {params.warn_kept_share:.0%} of the matched ones, once splits are set apart",
        ),
        _check(suite, "splits", "three splits", "block", row_count(len(SPLITS)), ", ".join(SPLITS)),
        _check(
            suite,
            "splits",
            "genes of each split",
            "warn",
            between("genes", params.warn_split_genes, None),
            f"at least {params.warn_split_genes} in every split",
        ),
        _check(suite, "leakage", "nothing leaks", "block", between("blocking", 0, 0), "nothing shared that blocks"),
        _check(suite, "leakage", "nothing is shared", "warn", between("shared", 0, 0), "nothing shared between splits"),
    ]


def _drift(params: ValidateParams) -> list[Check]:
    suite = "drift from the previous dataset"
    checks = []
    for column, words in (("ks", "Kolmogorov-Smirnov distance"), ("psi", "population stability index")):
        for severity, name in (("block", f"no break ({column.upper()})"), ("warn", f"no drift ({column.upper()})")):
            most = getattr(params, f"{'max' if severity == 'block' else 'warn'}_drift_{column}")
            expected = f"a {words} of at most {most:g}, where chance does not explain it"
            asked = between(f"{column}_beyond_chance", 0, most)
            checks.append(Check(suite, "drift", name, severity, *asked, expected))  # type: ignore[arg-type]
    checks.append(
        _check(
            suite, "continuity", "tissues", "warn", in_set("same_tissues", [True]), "the same tissues in the same order"
        )
    )
    checks.append(
        _check(
            suite,
            "continuity",
            "held-out transcripts stay held out",
            "warn",
            between("moved_share", 0, params.warn_moved_share),
            f"at most {params.warn_moved_share:.0%} of what was in the test split is now trained or validated on",
        )
    )
    return checks
