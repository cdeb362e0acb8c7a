"""From letters that a client sends to letters that the model knows.

Policy: white space and stop signs at a protein's end are dropped; IUPAC ambiguity codes and lower case pass (the model
reads an ambiguous base as N, U as T, a residue outside the ESM-2 alphabet as unknown); any other character is refused.
A DNA window is centred on the transcription start site, at len // 2: a longer one is cut to its middle, a shorter one
padded with N. What the model itself crops and replaces is told by `model.predictor`.
"""

from __future__ import annotations

import re

import numpy as np

from model.batch import TranscriptInput
from model.tokenizers import DNA_CODE_N, dna_codes
from serving.schema import FieldError, Item, Note

_SPACE = re.compile(r"\s+")
_NOT_NUCLEOTIDE = re.compile(r"[^ACGTUNRYSWKMBDHVacgtunryswkmbdhv]")
_NOT_RESIDUE = re.compile(r"[^A-Za-z]")


class BadItemError(ValueError):
    """An item that cannot be predicted, with one error per field."""

    def __init__(self, errors: list[FieldError]) -> None:
        self.errors = errors
        super().__init__(f"{len(errors)} errors")


def normalize(item: Item, index: int, *, window_bp: int, max_residues: int) -> tuple[TranscriptInput, list[Note]]:
    """The model's input of an item given by sequences, and what was changed; raises `BadItemError`."""
    notes: list[Note] = []
    errors: list[FieldError] = []
    letters: dict[str, str | None] = {}
    for field in ("dna", "rna", "protein"):
        text = getattr(item, field)
        if text is not None and len(text) > max_residues:
            errors.append(_error(index, field, f"{len(text):,} letters; at most {max_residues:,} are accepted"))
            text = None
        letters[field] = None if text is None else _letters(text, field, index, notes, errors)
    if errors:
        raise BadItemError(errors)
    dna = letters["dna"]
    window = None if dna is None else _window(dna_codes(dna), window_bp, notes)
    return TranscriptInput(dna=window, rna=letters["rna"], protein=letters["protein"]), notes


def _letters(text: str, field: str, index: int, notes: list[Note], errors: list[FieldError]) -> str:
    """The letters of one sequence; what is wrong with them goes to `errors`."""
    letters = _SPACE.sub("", text)
    if len(letters) < len(text):
        notes.append(Note(field=field, code="space_dropped", message="white space was dropped"))
    if field == "protein":
        kept = letters.rstrip("*")
        if len(kept) < len(letters):
            notes.append(Note(field=field, code="stop_dropped", message="the stop sign at the end was dropped"))
        letters = kept
    wrong = (_NOT_RESIDUE if field == "protein" else _NOT_NUCLEOTIDE).search(letters)
    if wrong:
        expected = "an amino acid" if field == "protein" else "a nucleotide"
        hint = " (a FASTA header?)" if wrong.group() == ">" else ""
        message = f"position {wrong.start() + 1:,}: expected {expected}, found {wrong.group()!r}{hint}"
        errors.append(_error(index, field, message))
    elif not letters:
        errors.append(_error(index, field, "no letters"))
    return letters


def _window(codes: np.ndarray, window_bp: int, notes: list[Note]) -> np.ndarray:
    """Codes (window_bp,) with the middle of `codes` at window_bp // 2."""
    start = len(codes) // 2 - window_bp // 2
    window = np.full(window_bp, DNA_CODE_N, dtype=np.uint8)
    first, last = max(start, 0), min(start + window_bp, len(codes))
    window[first - start : last - start] = codes[first:last]
    if len(codes) > window_bp:
        message = f"{len(codes):,} bp were cut to the central {window_bp:,}"
        notes.append(Note(field="dna", code="cut", message=message))
    return window


def _error(index: int, field: str, message: str) -> FieldError:
    return FieldError(item=index, field=field, message=message)
