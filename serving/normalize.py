"""From letters that a client sends to letters that the model knows, each change told.

Policy: white space is dropped; lower case is read as upper case; U and T are one letter; the IUPAC ambiguity codes of
nucleotides become N; stop signs at a protein's end are dropped; residues outside the ESM-2 alphabet (J) become X. Any
other character is refused. A DNA window is centred on the transcription start site, at len // 2: a longer one is cut
to its middle, a shorter one padded with N on both sides.
"""

from __future__ import annotations

import re

import numpy as np

from model.batch import TranscriptInput
from model.tokenizers import dna_codes
from serving.schema import FieldError, Item, Note

_SPACE = re.compile(r"\s+")
_AMBIGUOUS = re.compile(r"[RYSWKMBDHV]")
_NOT_NUCLEOTIDE = re.compile(r"[^ACGTN]")
_NOT_RESIDUE = re.compile(r"[^ACDEFGHIKLMNPQRSTVWYXBUZO]")
_TO_T = str.maketrans("U", "T")


class BadItem(ValueError):
    """An item that cannot be predicted, with one error per field."""

    def __init__(self, errors: list[FieldError]) -> None:
        self.errors = errors
        super().__init__(f"{len(errors)} errors")


def normalize(item: Item, index: int, *, window_bp: int, max_residues: int) -> tuple[TranscriptInput, list[Note]]:
    """The model's input of an item given by sequences, and what was changed; raises `BadItem`."""
    notes: list[Note] = []
    errors: list[FieldError] = []
    letters: dict[str, str | None] = {}
    for field in ("dna", "rna", "protein"):
        text = getattr(item, field)
        if text is not None and len(text) > max_residues:
            errors.append(_error(index, field, f"{len(text):,} letters; at most {max_residues:,} are accepted"))
            text = None
        clean = _protein if field == "protein" else _nucleotides
        letters[field] = None if text is None else clean(text, field, index, notes, errors)
    if errors:
        raise BadItem(errors)
    dna = letters["dna"]
    window = None if dna is None else _window(dna_codes(dna), window_bp, notes)
    return TranscriptInput(dna=window, rna=letters["rna"], protein=letters["protein"]), notes


def _nucleotides(text: str, field: str, index: int, notes: list[Note], errors: list[FieldError]) -> str:
    text = _without_space(text, field, notes).upper()
    if field == "dna" and "U" in text:
        notes.append(_note(field, "u_read_as_t", "U was read as T"))
    text = text.translate(_TO_T)
    text, replaced = _AMBIGUOUS.subn("N", text)
    if replaced:
        notes.append(_note(field, "ambiguous_to_n", f"{replaced:,} ambiguous bases were replaced by N"))
    _refuse(_NOT_NUCLEOTIDE, text, field, index, "a nucleotide", errors)
    return text


def _protein(text: str, field: str, index: int, notes: list[Note], errors: list[FieldError]) -> str:
    text = _without_space(text, field, notes).upper()
    kept = text.rstrip("*")
    if len(kept) < len(text):
        notes.append(_note(field, "stop_dropped", "the stop sign at the end was dropped"))
    kept, replaced = re.subn("J", "X", kept)
    if replaced:
        notes.append(_note(field, "unknown_to_x", f"{replaced:,} residues J were replaced by X"))
    _refuse(_NOT_RESIDUE, kept, field, index, "an amino acid", errors)
    return kept


def _window(codes: np.ndarray, window_bp: int, notes: list[Note]) -> np.ndarray:
    """Codes (window_bp,) with the middle of `codes` at window_bp // 2."""
    start = len(codes) // 2 - window_bp // 2
    window = np.full(window_bp, 4, dtype=np.uint8)
    first, last = max(start, 0), min(start + window_bp, len(codes))
    window[first - start : last - start] = codes[first:last]
    if len(codes) > window_bp:
        notes.append(_note("dna", "cut", f"{len(codes):,} bp were cut to the central {window_bp:,}"))
    elif len(codes) < window_bp:
        notes.append(_note("dna", "padded", f"{len(codes):,} bp were padded with N to {window_bp:,}"))
    return window


def _without_space(text: str, field: str, notes: list[Note]) -> str:
    kept = _SPACE.sub("", text)
    if len(kept) < len(text):
        notes.append(_note(field, "space_dropped", "white space was dropped"))
    return kept


def _refuse(
    wrong: re.Pattern[str], text: str, field: str, index: int, expected: str, errors: list[FieldError]
) -> None:
    found = wrong.search(text)
    if found:
        message = f"position {found.start() + 1:,}: expected {expected}, found {found.group()!r}"
        errors.append(_error(index, field, message + (" (a FASTA header?)" if found.group() == ">" else "")))
    elif not text:
        errors.append(_error(index, field, "no letters"))


def _note(field: str, code: str, message: str) -> Note:
    return Note(field=field, code=code, message=message)


def _error(index: int, field: str, message: str) -> FieldError:
    return FieldError(item=index, field=field, message=message)
