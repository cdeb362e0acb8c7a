"""How predicted variant effects agree with measured ones: sign accuracy, and AUROC against matched controls.

The table (TSV with a header) has `variant` (chrom:pos:ref:alt), `gene_id` or `transcript_id`, `tissue`, `slope` (the
measured effect of the alternative allele) and maybe `control` (1 = a variant without effect). A gene's predicted
effect is the change of log2 (1 + TPM summed over its transcripts).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from components.batch_predict.packaged import PackagedModel
from components.batch_predict.predict import input_of
from components.extract_sequences.transcripts import Transcript
from components.progress import track
from components.sequences import Genome
from components.variants import apply_variant, locus_of, parse_variant
from model.batch import TranscriptInput
from model.errors import InputError

_REQUIRED = ("variant", "tissue", "slope")
_RESAMPLES = 1_000


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured pair of variant and gene (or transcript) in a tissue; `line` of the table."""

    line: int
    variant: str
    target: str
    tissue: str
    slope: float
    control: bool


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A row, its predicted effect (log2 fold change), and the distance of the variant to the nearest TSS, bp."""

    row: Row
    effect: float
    tss_distance_bp: int
    consequences: tuple[str, ...]


def read_table(path: Path, tissues: Sequence[str]) -> list[Row]:
    """The rows of an eQTL table; a column, tissue or number that is not there raises `InputError` with its line."""
    try:
        handle = path.open(newline="", encoding="utf-8")
    except OSError as error:
        raise InputError(
            where=str(path), expected="a table", found=str(error.strerror), fix="Check the path."
        ) from None
    with handle:
        reader = csv.DictReader(handle, delimiter="\t")
        names = reader.fieldnames or []
        missing = [name for name in _REQUIRED if name not in names]
        if missing or not {"gene_id", "transcript_id"} & set(names):
            raise InputError(
                where=f"{path}, line 1",
                expected="tab-separated columns variant, tissue, slope, and gene_id or transcript_id",
                found=", ".join(names) or "nothing",
                fix="Add or rename the columns.",
            )
        return [_row(path, reader.line_num, record, tissues) for record in reader]


def _row(path: Path, line: int, record: Mapping[str, Any], tissues: Sequence[str]) -> Row:
    target = record.get("transcript_id") or record.get("gene_id") or ""
    try:
        slope = float(record["slope"])
    except (TypeError, ValueError):
        slope = math.nan
    if not math.isfinite(slope) or record["tissue"] not in tissues or not target:
        wrong = "slope" if not math.isfinite(slope) else "tissue" if target else "gene_id"
        raise InputError(
            where=f"{path}, line {line}: {wrong}",
            expected="a number" if wrong == "slope" else "one of the model's tissues" if wrong == "tissue" else "an id",
            found=repr(record.get(wrong)),
            fix="Correct the table, or leave the line out.",
        )
    control = (record.get("control") or "0").strip().lower() in ("1", "true", "yes")
    return Row(
        line=line,
        variant=str(record["variant"]),
        target=target,
        tissue=record["tissue"],
        slope=slope,
        control=control,
    )


def score(
    model: PackagedModel, genome: Genome, transcripts: Sequence[Transcript], rows: Sequence[Row]
) -> tuple[list[Scored], dict[str, str]]:
    """Predicted effects of rows, and for those that cannot be predicted the reason by `line N`."""
    of_target: dict[str, list[Transcript]] = {}
    for transcript in transcripts:
        for name in {transcript.transcript_id, transcript.gene_id}:
            for known in {name, name.partition(".")[0]}:
                of_target.setdefault(known, []).append(transcript)
    column = {tissue: place for place, tissue in enumerate(model.config.tissues)}
    scored: list[Scored] = []
    refused: dict[str, str] = {}
    with track(len(rows), "score variants", "variants") as advance:
        for row in rows:
            found = of_target.get(row.target) or of_target.get(row.target.partition(".")[0])
            try:
                if not found:
                    raise InputError(
                        where=row.target, expected="a gene or transcript", found="none", fix="Check the annotation."
                    )
                scored.append(_scored(model, genome, found, row, column[row.tissue]))
            except InputError as error:
                refused[f"line {row.line}"] = str(error)
            advance(1)
    return scored, refused


def _scored(model: PackagedModel, genome: Genome, found: Sequence[Transcript], row: Row, column: int) -> Scored:
    variant = parse_variant(row.variant)
    before = [input_of(genome, transcript, model.config.modalities) for transcript in found]
    edited = [apply_variant(genome, locus_of(partial(getattr, transcript)), variant) for transcript in found]
    after = [
        TranscriptInput(dna=one.dna if model.config.dna else None, rna=one.rna, protein=one.protein) for one in edited
    ]
    log1p = model.predictor.predict([*before, *after]).log1p_tpm[:, column].astype(np.float64)
    tpm = np.maximum(np.expm1(log1p), 0).reshape(2, -1).sum(axis=1)
    return Scored(
        row=row,
        effect=float(np.log2(1 + tpm[1]) - np.log2(1 + tpm[0])),
        tss_distance_bp=min(abs(variant.start - transcript.tss) for transcript in found),
        consequences=tuple(sorted({term for one in edited for term in one.consequences})),
    )


def matched_controls(cases: Sequence[Scored], controls: Sequence[Scored]) -> list[tuple[Scored, Scored]]:
    """Each case with the control of its tissue that is nearest in log distance to the TSS, each control once.

    Cases with the fewest controls to choose from, the furthest from the TSS, choose first.
    """
    free = list(controls)
    pairs = []
    for case in sorted(cases, key=lambda one: -one.tss_distance_bp):
        alike = [one for one in free if one.row.tissue == case.row.tissue]
        if alike:
            place = math.log1p(case.tss_distance_bp)
            chosen = min(alike, key=lambda one: abs(math.log1p(one.tss_distance_bp) - place))
            free.remove(chosen)
            pairs.append((case, chosen))
    return pairs


def auroc(cases: np.ndarray, controls: np.ndarray) -> float:
    """Chance that a case's value exceeds a control's, ties half (Mann-Whitney)."""
    ordered = np.sort(controls)
    below = np.searchsorted(ordered, cases, side="left")
    up_to = np.searchsorted(ordered, cases, side="right")
    return float(((below + up_to) / 2).mean() / len(controls))


def summary(scored: Sequence[Scored], refused: Mapping[str, str]) -> dict[str, Any]:
    """Sign accuracy of the cases and AUROC of the effect's size, each with a 95 % bootstrap interval over genes."""
    cases = [one for one in scored if not one.row.control and one.row.slope]
    pairs = matched_controls(cases, [one for one in scored if one.row.control])
    signs = np.array([np.sign(one.effect) == np.sign(one.row.slope) for one in cases], dtype=np.float64)
    sizes = np.array([[abs(case.effect), abs(control.effect)] for case, control in pairs]).reshape(-1, 2)
    return {
        "cases": len(cases),
        "controls": sum(one.row.control for one in scored),
        "matched_pairs": len(pairs),
        "refused": len(refused),
        "sign_accuracy": _with_interval(signs, [one.row.target for one in cases], lambda rows: rows.mean()),
        "auroc_against_matched_controls": _with_interval(
            sizes, [case.row.target for case, _ in pairs], lambda rows: auroc(rows[:, 0], rows[:, 1])
        ),
    }


def _with_interval(values: np.ndarray, genes: Sequence[str], statistic: Any) -> dict[str, float | int] | None:
    if not len(values):
        return None
    rng = np.random.default_rng(0)
    names, gene = np.unique(genes, return_inverse=True)
    rows_of = [np.flatnonzero(gene == place) for place in range(len(names))]
    draws = [
        statistic(values[np.concatenate([rows_of[place] for place in rng.integers(0, len(names), len(names))])])
        for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"value": float(statistic(values)), "low": float(low), "high": float(high), "genes": len(names)}
