"""GTF: the transcript of a row stands in its attributes (GENCODE, Ensembl, RefSeq, UCSC, assemblers)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from components.extract_sequences.annotation import CDS, EXON, SELENOCYSTEINE
from components.extract_sequences.attributes import Naming, naming_of, parse_gtf
from components.extract_sequences.columns import ATTRIBUTES, Rows
from model.errors import InputError

_KEY = b"transcript_id"
_BEFORE_KEY = b"\t ;"


class GtfDialect:
    """Numbers transcripts by `transcript_id` as they appear; names come from the transcript row, else the first row."""

    piece_of_feature: ClassVar[dict[str, int]] = {
        "exon": EXON,
        "CDS": CDS,
        "Selenocysteine": SELENOCYSTEINE,
        "selenocysteine": SELENOCYSTEINE,
    }

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers: dict[bytes, int] = {}
        self._texts: list[bytes] = []
        self._row_of_transcript: dict[int, int] = {}
        self._gene_texts: dict[str, bytes] = {}

    def transcripts_of(self, rows: Rows, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row index and transcript number of each piece, int64 (R,); a piece without transcript raises `InputError`."""
        block = rows.block
        starts, ends = rows.edges[:, ATTRIBUTES].tolist(), rows.edges[:, ATTRIBUTES + 1].tolist()
        numbers = np.empty(len(rows), dtype=np.int64)
        known = self._numbers
        for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
            name = _transcript_id(block, start, end)
            if name is None:
                raise rows.error(row, 'an attribute transcript_id "…"', repr(rows.text(row, ATTRIBUTES)[:60]))
            number = known.get(name)
            if number is None:
                number = self._new(name, block[start:end])
            numbers[row] = number
        return np.arange(len(rows)), numbers

    def describe(self, rows: Rows, features: list[str]) -> None:
        """Keep the attributes of transcript and gene rows; a second row of a transcript raises `InputError`."""
        for row, feature in enumerate(features):
            if feature == "transcript" or feature == "mRNA":
                self._describe_transcript(rows, row)
            elif feature == "gene":
                attributes = parse_gtf(rows.text(row, ATTRIBUTES))
                for name in attributes.get("gene_id", ()):
                    self._gene_texts[name] = rows.field(row, ATTRIBUTES)

    def _describe_transcript(self, rows: Rows, row: int) -> None:
        start, end = rows.edges[row, ATTRIBUTES], rows.edges[row, ATTRIBUTES + 1]
        name = _transcript_id(rows.block, int(start), int(end))
        if name is None:
            raise rows.error(row, 'an attribute transcript_id "…"', repr(rows.text(row, ATTRIBUTES)[:60]))
        number = self._numbers.get(name)
        if number is None:
            number = self._new(name, b"")
        if number in self._row_of_transcript:
            before = self._row_of_transcript[number]
            raise InputError(
                where=f"{self._path}, line {rows.line[row]:,}",
                expected="each transcript once",
                found=f"duplicated transcript {name.decode('utf-8', 'replace')!r}, already on line {before:,}",
                fix="Give each copy an identifier of its own, as GENCODE does with _PAR_Y, or remove one.",
            )
        self._row_of_transcript[number] = int(rows.line[row])
        self._texts[number] = rows.field(row, ATTRIBUTES)

    def _new(self, name: bytes, text: bytes) -> int:
        self._numbers[name] = len(self._texts)
        self._texts.append(text)
        return len(self._texts) - 1

    def finish(self) -> list[Naming]:
        """Names by transcript number."""
        genes = {name: parse_gtf(text.decode("utf-8", "replace")) for name, text in self._gene_texts.items()}
        namings = []
        for text in self._texts:
            attributes = parse_gtf(text.decode("utf-8", "replace"))
            gene = genes.get((attributes.get("gene_id") or [""])[0])
            namings.append(naming_of(attributes, gene=gene))
        return namings


def _transcript_id(block: bytes, start: int, end: int) -> bytes | None:
    """The value of transcript_id between start and end, and not of another key that ends with it."""
    at = block.find(_KEY, start, end)
    while at > start and block[at - 1] not in _BEFORE_KEY:
        at = block.find(_KEY, at + 1, end)
    if at < 0:
        return None
    quote = at + len(_KEY) + 2
    if block[quote - 1] == 34:  # a double quote
        close = block.find(b'"', quote, end)
        return block[quote:close] if close > quote else None
    close = block.find(b";", at, end)
    words = block[at : close if close > 0 else end].split()
    return words[1].strip(b'"') if len(words) > 1 and words[1].strip(b'"') else None
