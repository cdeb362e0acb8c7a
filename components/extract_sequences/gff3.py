"""GFF3: a row belongs to its `Parent` (specification 1.26, in the dialects of GENCODE, Ensembl and RefSeq)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, cast

import numpy as np

from components.extract_sequences.attributes import Attributes, Naming, naming_of, parse_gff3, without_prefix
from components.extract_sequences.columns import ATTRIBUTES, Rows
from components.extract_sequences.pieces import CDS, EXON, SELENOCYSTEINE, Learned
from model.errors import InputError

_KEY = b"Parent="
_TRANS_SPLICING = b"exception=trans-splicing"
_SKIPPED = frozenset(
    (
        *("five_prime_UTR", "three_prime_UTR", "UTR", "start_codon", "stop_codon", "intron", "region", "match"),
        *("biological_region", "cDNA_match", "chromosome", "scaffold", "contig", "supercontig"),
    )
)


class Gff3Dialect:
    """Numbers transcripts by the `Parent` of their exons; what is learned is for `Gff3Names`."""

    piece_of_feature: ClassVar[dict[str, int]] = {
        "exon": EXON,
        "CDS": CDS,
        "stop_codon_redefined_as_selenocysteine": SELENOCYSTEINE,
        "selenocysteine": SELENOCYSTEINE,
        "Selenocysteine": SELENOCYSTEINE,
    }

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers: dict[bytes, int] = {}
        self._rows: dict[bytes, tuple[str, int]] = {}
        self._learned: list[Learned] = []
        self._told = 0

    def wants(self, feature: str) -> bool:
        """Whether rows of a feature that is no piece may be a transcript or a gene."""
        return feature not in _SKIPPED

    def transcripts_of(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Row index and transcript number, int64; an exon may belong to several; one without raises `InputError`."""
        block = rows.block
        starts, ends = rows.edges[:, ATTRIBUTES].tolist(), rows.edges[:, ATTRIBUTES + 1].tolist()
        places: list[int] = []
        numbers: list[int] = []
        known = self._numbers
        for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
            parents = _parents(block, start, end - 1)
            if not parents:
                raise rows.error(row, "an attribute Parent=…", repr(rows.text(row, ATTRIBUTES)[:60]))
            for parent in parents.split(b",") if b"," in parents else (parents,):
                number = known.setdefault(parent, len(known))
                places.append(row)
                numbers.append(number)
        return np.array(places, dtype=np.int64), np.array(numbers, dtype=np.int64)

    def describe(self, rows: Rows, features: list[str]) -> None:
        """Learn the attributes of rows that may be a transcript or a gene; an ID used twice raises `InputError`."""
        for row, feature in enumerate(features):
            text = rows.field(row, ATTRIBUTES)
            name = _value(text, b"ID=")
            if not name:
                continue
            if name in self._rows and self._rows[name][0] == feature:
                if _TRANS_SPLICING in text:  # RefSeq gives each part a row
                    continue
                raise InputError(
                    where=f"{self._path}, line {rows.line[row]:,}",
                    expected="each transcript and gene once",
                    found=f"duplicated transcript or gene {name.decode('utf-8', 'replace')!r}, already on line "
                    f"{self._rows[name][1]:,}",
                    fix="Give each copy an identifier of its own, as GENCODE does with _PAR_Y, or remove one.",
                )
            self._rows[name] = (feature, int(rows.line[row]))
            self._learned.append((name, feature, text))

    def learned(self) -> list[Learned]:
        """Since the last call: (ID, feature, attributes) of rows, then (name,) of transcripts in their order."""
        learned, self._learned = self._learned, []
        learned += [(name,) for name in itertools.islice(self._numbers, self._told, None)]
        self._told = len(self._numbers)
        return learned


class Gff3Names:
    """Names come from the row whose `ID` the `Parent` of a transcript's exons is."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[str, bytes]] = {}
        self._transcripts: list[bytes] = []

    def learn(self, items: list[Learned]) -> None:
        """Take what `Gff3Dialect.learned` gave."""
        for item in cast("list[tuple[bytes] | tuple[bytes, str, bytes]]", items):
            if len(item) == 1:
                self._transcripts.append(item[0])
            else:
                self._rows[item[0].decode("utf-8", "replace")] = item[1:]

    def finish(self) -> list[Naming]:
        """Names by transcript number."""
        namings: list[Naming] = []
        used: set[str] = set()
        for key in self._transcripts:
            name = key.decode("utf-8", "replace")
            feature, text = self._rows.get(name, ("", b"ID=" + key))
            attributes = parse_gff3(text.decode("utf-8", "replace"))
            naming = naming_of(attributes, gene=self._gene(attributes), feature=feature)
            if naming.transcript_id in used:
                # RefSeq gives a second copy, as on the Y pseudoautosomal regions, an ID but no name of its own.
                naming = replace(naming, transcript_id=without_prefix(name))
            used.add(naming.transcript_id)
            namings.append(naming)
        return namings

    def _gene(self, attributes: Attributes) -> Attributes | None:
        """The topmost ancestor, for the miRNA within a primary transcript within a gene."""
        gene: Attributes | None = None
        seen: set[str] = set()
        parent = attributes.get("Parent", "").partition(",")[0]
        while parent in self._rows and parent not in seen:
            seen.add(parent)
            gene = parse_gff3(self._rows[parent][1].decode("utf-8", "replace"))
            parent = gene.get("Parent", "").partition(",")[0]
        return gene


def _parents(block: bytes, start: int, end: int) -> bytes:
    at = block.find(_KEY, start, end)
    while at > start and block[at - 1] not in b"; ":
        at = block.find(_KEY, at + 1, end)
    if at < 0:
        return b""
    close = block.find(b";", at, end)
    return block[at + len(_KEY) : close if close > 0 else end]


def _value(text: bytes, key: bytes) -> bytes:
    for pair in text.split(b";"):
        if pair.strip().startswith(key):
            return pair.strip()[len(key) :]
    return b""
