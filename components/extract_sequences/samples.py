"""Sample attributes: which sample is of which tissue (GTEx SampleAttributesDS, or any table with such columns)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.extract_sequences.streams import read_blocks
from model.errors import InputError

SAMPLE_COLUMN = "SAMPID"
FREEZE_COLUMN = "SMAFRZE"
FREEZE = "RNASEQ"

# The 30 tissues of the paper, in its order (arXiv 2406.14150).
PAPER_TISSUES = (
    *("Adipose Tissue", "Adrenal Gland", "Bladder", "Blood", "Blood Vessel", "Brain", "Breast", "Cervix Uteri"),
    *("Colon", "Esophagus", "Fallopian Tube", "Heart", "Kidney", "Liver", "Lung", "Muscle", "Nerve", "Ovary"),
    *("Pancreas", "Pituitary", "Prostate", "Salivary Gland", "Skin", "Small Intestine", "Spleen", "Stomach"),
    *("Testis", "Thyroid", "Uterus", "Vagina"),
)


@dataclass(frozen=True)
class SampleTissues:
    """Tissue by sample id, in the order of the file; `line` says where each stands; RNA-seq samples only."""

    path: Path
    tissue: dict[str, str]
    line: dict[str, int]


@dataclass(frozen=True)
class TissueColumns:
    """For the samples of an expression table (S,): `tissue_of` int64, an index into `tissues`, −1 if not wanted."""

    tissues: tuple[str, ...]
    tissue_of: np.ndarray

    @property
    def samples_per_tissue(self) -> dict[str, int]:
        """Number of samples by tissue name."""
        counts = np.bincount(self.tissue_of[self.tissue_of >= 0], minlength=len(self.tissues))
        return dict(zip(self.tissues, counts.tolist(), strict=True))


def read_sample_tissues(path: Path, column: str = "SMTS") -> SampleTissues:
    """Read the tissue in `column` of each sample; where there is SMAFRZE, only its RNASEQ samples.

    Raises `InputError` for a missing column, a row too short, a sample twice.
    """
    lines = _lines(path)
    header_line, header = lines[0]
    delimiter = "," if "," in header and "\t" not in header else "\t"
    names = header.split(delimiter)
    positions = []
    for name in (SAMPLE_COLUMN, column):
        if name not in names:
            raise _error(path, header_line, f"a column {name!r}", f"{', '.join(names[:8])} …")
        positions.append(names.index(name))
    freeze = names.index(FREEZE_COLUMN) if FREEZE_COLUMN in names else None
    tissue: dict[str, str] = {}
    line_of: dict[str, int] = {}
    for number, text in lines[1:]:
        fields = text.split(delimiter)
        needed = max(*positions, freeze or 0)
        if len(fields) <= needed:
            raise _error(path, number, f"at least {needed + 1} columns", str(len(fields)))
        if freeze is not None and fields[freeze] != FREEZE:
            continue
        sample = fields[positions[0]]
        if sample in tissue:
            raise _error(path, number, "each sample once", f"{sample!r} again")
        tissue[sample] = fields[positions[1]].strip()
        line_of[sample] = number
    if not tissue:
        raise _error(path, header_line, f"samples (with {FREEZE_COLUMN} = {FREEZE} where it is given)", "none")
    return SampleTissues(path, tissue, line_of)


def tissue_columns(
    table: Path, samples: Sequence[str], attributes: SampleTissues, wanted: Sequence[str]
) -> TissueColumns:
    """Give each sample of an expression table its tissue, tissues in the order `wanted`.

    An empty `wanted` means the paper's order where the tissues are its 30, else alphabetical. Samples of tissues that
    are not wanted get −1. Raises `InputError` for a sample that has no tissue and a wanted tissue without samples.
    """
    for sample in samples:
        if not attributes.tissue.get(sample):
            where = (
                f"{attributes.path}, line {attributes.line[sample]:,}" if sample in attributes.tissue else str(table)
            )
            raise InputError(
                where=where,
                expected="a tissue for each sample of the expression table",
                found=f"none for {sample!r}",
                fix=f"Add the sample with its tissue to {attributes.path}.",
            )
    present = {attributes.tissue[sample] for sample in samples}
    usual = PAPER_TISSUES if present == set(PAPER_TISSUES) else tuple(sorted(present))
    tissues = tuple(wanted) or usual
    missing = [name for name in tissues if name not in present]
    if missing:
        raise InputError(
            where=str(table),
            expected=f"samples of tissue {missing[0]!r}",
            found=f"only {', '.join(sorted(present)[:5])} …",
            fix="Correct extract.tissues or extract.tissue_column in params.yaml.",
        )
    index = {name: number for number, name in enumerate(tissues)}
    tissue_of = np.array([index.get(attributes.tissue[sample], -1) for sample in samples], dtype=np.int64)
    return TissueColumns(tissues, tissue_of)


def _lines(path: Path) -> list[tuple[int, str]]:
    """Numbered lines that are not blank."""
    try:
        text = b"".join(read_blocks(path)).decode("utf-8")
    except UnicodeDecodeError:
        raise _error(path, 1, "UTF-8 text", "other bytes") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise _error(path, 1, "a header", "blank lines")
    return lines


def _error(path: Path, line: int, expected: str, found: str) -> InputError:
    return InputError(
        where=f"{path}, line {line:,}", expected=expected, found=found, fix="Correct the sample attributes table."
    )
