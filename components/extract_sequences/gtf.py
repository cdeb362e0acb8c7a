"""GTF: the transcript of a row stands in its attributes (GENCODE, Ensembl, RefSeq, UCSC, assemblers)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, cast

import numpy as np

from components.extract_sequences.attributes import Attributes, Naming, naming_of, parse_gtf
from components.extract_sequences.columns import ATTRIBUTES, Rows
from components.extract_sequences.pieces import CDS, EXON, SELENOCYSTEINE, Learned
from model.errors import InputError

_KEY = b"transcript_id"
_GENE_KEY = b"gene_id"
_BEFORE_KEY = b"\t ;"
_TRANS_SPLICING = b'exception "trans-splicing"'  # RefSeq gives each part a row


class GtfDialect:
    """Numbers transcripts by `transcript_id` as they appear; what is learned is for `GtfNames`."""

    piece_of_feature: ClassVar[dict[str, int]] = {
        "exon": EXON,
        "CDS": CDS,
        "Selenocysteine": SELENOCYSTEINE,
        "selenocysteine": SELENOCYSTEINE,
    }

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers: dict[bytes, int] = {}
        self._row_of_transcript: dict[int, int] = {}
        self._learned: list[Learned] = []
        # Of the last block: attributes of transcript rows up to the id, and the number.
        self._beginnings: dict[bytes, int] = {}

    def wants(self, feature: str) -> bool:
        """Whether rows of a feature that is no piece say something of names."""
        return feature in ("transcript", "mRNA", "gene")

    def transcripts_of(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Row index and transcript number of each piece, int64 (R,); a piece without transcript raises `InputError`."""
        numbers: list[int] = []
        counts: list[int] = []
        # Rows of one transcript follow each other and mostly begin alike, up to the id: only the first is looked at.
        _, size = self._transcript_of(rows, 0)
        firsts = np.flatnonzero(~rows.like_before(ATTRIBUTES, size))
        starts = rows.edges[firsts, ATTRIBUTES].tolist()
        ends = [*firsts[1:].tolist(), len(rows)]
        for first, end, start in zip(firsts.tolist(), ends, starts, strict=True):
            known = self._beginnings.get(rows.block[start : start + size])
            number, needed = self._transcript_of(rows, first) if known is None else (known, size)
            if needed <= size:
                numbers.append(number)
                counts.append(end - first)
            else:
                numbers += [self._transcript_of(rows, row)[0] for row in range(first, end)]
                counts += [1] * (end - first)
        return np.arange(len(rows)), np.repeat(np.array(numbers, dtype=np.int64), counts)

    def _transcript_of(self, rows: Rows, row: int) -> tuple[int, int]:
        """Number of the transcript of a row, and how many bytes of its attributes say so."""
        start, end = int(rows.edges[row, ATTRIBUTES]), int(rows.edges[row, ATTRIBUTES + 1])
        found = _transcript_id(rows.block, start, end)
        if found is None:
            raise _without_transcript(rows, row)
        name, after = found
        number = self._numbers.get(name)
        if number is None:
            number = self._new(name)
            self._learned.append((number, rows.field(row, ATTRIBUTES)))
        return number, after - start

    def describe(self, rows: Rows, features: list[str]) -> None:
        """Learn the attributes of transcript and gene rows; a second row of a transcript raises `InputError`."""
        self._beginnings.clear()
        for row, feature in enumerate(features):
            text = rows.field(row, ATTRIBUTES)
            if feature == "gene":
                self._learned.append((_value(text, _GENE_KEY), text))
            else:
                self._learned.append((self._described(rows, row), text))

    def _described(self, rows: Rows, row: int) -> int:
        """Number of the transcript that a row describes."""
        start = int(rows.edges[row, ATTRIBUTES])
        found = _transcript_id(rows.block, start, int(rows.edges[row, ATTRIBUTES + 1]))
        if found is None:
            raise _without_transcript(rows, row)
        name, after = found
        number = self._numbers.get(name)
        if number is None:
            number = self._new(name)
        self._beginnings[rows.block[start:after]] = number
        before = self._row_of_transcript.setdefault(number, int(rows.line[row]))
        if before != rows.line[row] and _TRANS_SPLICING not in rows.field(row, ATTRIBUTES):
            raise InputError(
                where=f"{self._path}, line {rows.line[row]:,}",
                expected="each transcript once",
                found=f"duplicated transcript {name.decode('utf-8', 'replace')!r}, already on line {before:,}",
                fix="Give each copy an identifier of its own, as GENCODE does with _PAR_Y, or remove one.",
            )
        return number

    def _new(self, name: bytes) -> int:
        self._numbers[name] = len(self._numbers)
        return len(self._numbers) - 1

    def learned(self) -> list[Learned]:
        """(transcript number or gene_id, attributes) of rows since the last call."""
        learned, self._learned = self._learned, []
        return learned


class GtfNames:
    """Names come from the transcript row, else from the first row of a transcript, and its gene's row."""

    def __init__(self) -> None:
        self._namings: list[Naming] = []
        self._gene_texts: dict[bytes, bytes] = {}
        self._genes: dict[bytes, Attributes] = {}
        # Attributes that leave something to the gene's row, which may come later, by transcript number.
        self._incomplete: dict[int, Attributes] = {}

    def learn(self, items: list[Learned]) -> None:
        """Take what `GtfDialect.learned` gave."""
        for key, text in cast("list[tuple[int | bytes, bytes]]", items):
            if isinstance(key, bytes):
                self._gene_texts[key] = text
                continue
            attributes = parse_gtf(text.decode("utf-8", "replace"))
            naming = naming_of(attributes)
            if key < len(self._namings):
                self._namings[key] = naming
                self._incomplete.pop(key, None)
            else:
                self._namings.append(naming)
            if not ("gene_name" in attributes and ("gene_type" in attributes or "gene_biotype" in attributes)):
                self._incomplete[key] = attributes

    def finish(self) -> list[Naming]:
        """Names by transcript number."""
        for number, attributes in self._incomplete.items():
            gene = self._gene(attributes.get("gene_id", "").encode())
            if gene is not None:
                self._namings[number] = naming_of(attributes, gene=gene)
        return self._namings

    def _gene(self, key: bytes) -> Attributes | None:
        if key not in self._genes and key in self._gene_texts:
            self._genes[key] = parse_gtf(self._gene_texts[key].decode("utf-8", "replace"))
        return self._genes.get(key)


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
