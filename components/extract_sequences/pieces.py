"""What is known of an annotation: transcripts by number, their exons, coding pieces and selenocysteines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import numpy as np

from components.extract_sequences.attributes import Naming
from components.extract_sequences.columns import Rows

EXON, CDS, SELENOCYSTEINE = range(3)
NO_FRAME = -1
Format = Literal["gtf", "gff3"]


@dataclass(frozen=True)
class Pieces:
    """Intervals of one kind, grouped by transcript and ascending within it.

    `start`, `end`: int64 (P,), 0-based half-open. `frame`: int8 (P,), bases before the first whole codon, −1 where not
    given. `line`: int64 (P,). Transcript t has the pieces offsets[t]:offsets[t + 1].
    """

    start: np.ndarray
    end: np.ndarray
    frame: np.ndarray
    line: np.ndarray
    offsets: np.ndarray

    def of(self, transcript: int) -> slice:
        """The pieces of one transcript."""
        return slice(int(self.offsets[transcript]), int(self.offsets[transcript + 1]))

    @property
    def counts(self) -> np.ndarray:
        """Pieces per transcript, int64 (T,)."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Annotation:
    """T transcripts as annotated, in the order of the file.

    `contig` and `strand` (`+`, `-` or `.`) by transcript, `""` and `.` for one that has neither exon nor CDS; `line` of
    its first piece, 0 if none. `trans_spliced`: numbers of those with pieces on both strands or several contigs, whose
    pieces are left out here. `simulated`: the file's comments say so.
    """

    path: Path
    format: Format
    naming: list[Naming]
    contig: list[str]
    strand: list[str]
    line: np.ndarray
    exons: Pieces
    cds: Pieces
    selenocysteines: Pieces
    trans_spliced: frozenset[int] = frozenset()
    simulated: bool = False

    def __len__(self) -> int:
        return len(self.naming)


# What a row says of names, as its dialect has it.
Learned = tuple[object, ...]


class Dialect(Protocol):
    """How a format says to which transcript a row belongs."""

    piece_of_feature: ClassVar[dict[str, int]]

    def wants(self, feature: str) -> bool:
        """Whether rows of a feature that is no piece are to be described."""

    def transcripts_of(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """For rows of pieces: (row index, transcript number), both int64; a row may have several parents."""

    def describe(self, rows: Rows, features: list[str]) -> None:
        """Learn names from rows that are wanted."""

    def learned(self) -> list[Learned]:
        """What was learned of names since the last call, for `Names.learn`."""


class Names(Protocol):
    """What transcripts are called, from what a dialect has learned."""

    def learn(self, items: list[Learned]) -> None:
        """Take what `Dialect.learned` gave, in order."""

    def finish(self) -> list[Naming]:
        """Names by transcript number."""
