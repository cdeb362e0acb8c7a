"""GTF: the transcript of a row stands in its attributes (GENCODE, Ensembl, RefSeq, UCSC, assemblers)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from components.extract_sequences.attributes import Naming, naming_of, parse_gtf
from components.extract_sequences.columns import ATTRIBUTES, Rows
from components.extract_sequences.pieces import CDS, EXON, SELENOCYSTEINE
from model.errors import InputError

_KEY = b"transcript_id"
_GENE_KEY = b"gene_id"
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
        self._gene_texts: dict[bytes, bytes] = {}

    def wants(self, feature: str) -> bool:
        """Whether rows of a feature that is no piece say something of names."""
        return feature in ("transcript", "mRNA", "gene")

    def transcripts_of(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Row index and transcript number of each piece, int64 (R,); a piece without transcript raises `InputError`."""
        block = rows.block
        starts, ends = rows.edges[:, ATTRIBUTES].tolist(), rows.edges[:, ATTRIBUTES + 1].tolist()
        numbers: list[int] = []
        known = self._numbers
        number = -1
        prefix = b"\n"  # stands in no attribute
        for start, end in zip(starts, ends, strict=True):
            # Rows of one transcript follow each other and mostly begin alike, up to the id.
            if not block.startswith(prefix, start):
                found = _transcript_id(block, start, end)
                if found is None:
                    raise _without_transcript(rows, len(numbers))
                name, after = found
                prefix = block[start:after]
                number = known.get(name, -1)
                if number < 0:
                    number = self._new(name, block[start:end])
            numbers.append(number)
        return np.arange(len(rows)), np.array(numbers, dtype=np.int64)

    def describe(self, rows: Rows, features: list[str]) -> None:
        """Keep the attributes of transcript and gene rows; a second row of a transcript raises `InputError`."""
        for row, feature in enumerate(features):
            if feature == "gene":
                text = rows.field(row, ATTRIBUTES)
                self._gene_texts[_value(text, _GENE_KEY)] = text
            else:
                self._describe_transcript(rows, row)

    def _describe_transcript(self, rows: Rows, row: int) -> None:
        start, end = rows.edges[row, ATTRIBUTES], rows.edges[row, ATTRIBUTES + 1]
        found = _transcript_id(rows.block, int(start), int(end))
        if found is None:
            raise _without_transcript(rows, row)
        name, _ = found
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
        genes: dict[bytes, dict[str, str]] = {}
        namings = []
        for text in self._texts:
            attributes = parse_gtf(text.decode("utf-8", "replace"))
            gene = None
            if not ("gene_name" in attributes and ("gene_type" in attributes or "gene_biotype" in attributes)):
                key = attributes.get("gene_id", "").encode()
                if key not in genes and key in self._gene_texts:
                    genes[key] = parse_gtf(self._gene_texts[key].decode("utf-8", "replace"))
                gene = genes.get(key)
            namings.append(naming_of(attributes, gene=gene))
        return namings


def _without_transcript(rows: Rows, row: int) -> InputError:
    return rows.error(row, 'an attribute transcript_id "…"', repr(rows.text(row, ATTRIBUTES)[:60]))


def _transcript_id(block: bytes, start: int, end: int) -> tuple[bytes, int] | None:
    """The value of transcript_id between start and end, and the place behind it."""
    at = block.find(_KEY, start, end)
    while at > start and block[at - 1] not in _BEFORE_KEY:  # another key that ends with it
        at = block.find(_KEY, at + 1, end)
    if at < 0 or at + len(_KEY) + 1 >= end:
        return None
    quote = at + len(_KEY) + 2
    if block[quote - 1] == ord('"'):
        close = block.find(b'"', quote, end)
        return (block[quote:close], close + 1) if close > quote else None
    close = block.find(b";", at, end)
    close = close if close > 0 else end - 1
    name = block[at + len(_KEY) : close].strip(b' "')
    return (name, close + 1) if name and block[at + len(_KEY)] in b" =" else None


def _value(text: bytes, key: bytes) -> bytes:
    at = text.find(key)
    return text[at + len(key) :].strip(b' "').partition(b";")[0].strip(b' "') if at >= 0 else b""
