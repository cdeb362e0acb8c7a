"""The packed batch: one type from the data loader to the server, numpy only.

B transcripts, W distinct DNA windows, L base pairs per window. Tokens of all transcripts lie one behind the other;
offsets say where each begins. Nothing is padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.config import MODALITIES, IsoFormerConfig, RotaryConfig
from model.errors import InputError
from model.tokenizers import crop_rna, esm_tokens, sixmer_tokens


@dataclass(frozen=True, kw_only=True, eq=False)
class TranscriptInput:
    """What the model may know of one transcript; an absent modality is None.

    `dna`: codes uint8 (window_bp,) of the window around the TSS, in transcript orientation. `rna`: nucleotides 5'→3'.
    `protein`: residues from the N-terminus.
    """

    dna: np.ndarray | None = None
    rna: str | None = None
    protein: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenizedTranscript:
    """A transcript ready to be packed: DNA codes (window_bp,) and token ids; an absent modality is None."""

    dna: np.ndarray | None = None
    rna: np.ndarray | None = None
    protein: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedBatch:
    """B transcripts over W distinct DNA windows.

    windows: uint8 (W, L), codes A0 C1 G2 T3 N4; (0, L) where the DNA encoder reads tokens.
    window_of_transcript: int64 (B,), −1 = no DNA (or, where `absent: specials` applies, a window of CLS alone).
    dna_tokens, dna_offsets: int32 (sum,), int64 (W + 1,), only for a DNA encoder that reads six-mers.
    rna_tokens, rna_offsets, protein_tokens, protein_offsets: int32 (sum,), int64 (B + 1,).
    present: bool (B, 3) in the order dna, rna, protein.
    """

    windows: np.ndarray
    window_of_transcript: np.ndarray
    dna_tokens: np.ndarray
    dna_offsets: np.ndarray
    rna_tokens: np.ndarray
    rna_offsets: np.ndarray
    protein_tokens: np.ndarray
    protein_offsets: np.ndarray
    present: np.ndarray

    @property
    def size(self) -> int:
        """Transcripts in the batch, B."""
        return len(self.window_of_transcript)


def tokenize(transcript: TranscriptInput, config: IsoFormerConfig) -> TokenizedTranscript:
    """Token ids of one transcript, cropped as the paper does: RNA keeps its 3' end, protein its N-terminus.

    A modality that the model has no encoder for is dropped. A transcript left with none, or a DNA window of the wrong
    length, raises `InputError`.
    """
    dna = transcript.dna if config.dna is not None else None
    if dna is not None and len(dna) != config.window_bp:
        raise InputError(
            where="dna",
            expected=f"{config.window_bp} bp",
            found=f"{len(dna)} bp",
            fix="Cut the window around the TSS to the model's length; pad past a contig's end with N.",
        )
    rna = protein = None
    if transcript.rna and config.rna is not None:
        rna = sixmer_tokens(crop_rna(transcript.rna, config.rna.max_tokens))
    if transcript.protein and config.protein is not None:
        protein = esm_tokens(transcript.protein, max_residues=config.protein.max_tokens - 2)
    if dna is None and rna is None and protein is None:
        raise InputError(
            where="transcript",
            expected=f"at least one of {', '.join(config.modalities)}",
            found="none of them",
            fix="Give a sequence that the model has an encoder for.",
        )
    return TokenizedTranscript(dna=dna, rna=rna, protein=protein)


def pack(transcripts: Sequence[TokenizedTranscript], config: IsoFormerConfig) -> PackedBatch:
    """Pack tokenised transcripts; equal DNA windows are stored once, in order of first appearance."""
    index_of_window: dict[bytes, int] = {}
    windows: list[np.ndarray] = []
    window_of_transcript = np.full(len(transcripts), -1, dtype=np.int64)
    for row, transcript in enumerate(transcripts):
        if transcript.dna is None:
            continue
        key = transcript.dna.tobytes()
        if key not in index_of_window:
            index_of_window[key] = len(windows)
            windows.append(transcript.dna)
        window_of_transcript[row] = index_of_window[key]
    dna_reads_tokens = isinstance(config.dna, RotaryConfig)
    # Where the model attends to the special tokens of an absent sequence, they are tokens; `present` stays false.
    specials = config.fusion.absent == "specials"
    dna_pieces = [sixmer_tokens(codes) for codes in windows] if dna_reads_tokens else []
    if dna_reads_tokens and specials and (window_of_transcript < 0).any():
        window_of_transcript[window_of_transcript < 0] = len(dna_pieces)
        dna_pieces.append(sixmer_tokens(""))
    dna_tokens, dna_offsets = _concatenate(dna_pieces)
    no_rna = sixmer_tokens("") if specials and config.rna is not None else None
    no_protein = esm_tokens("") if specials and config.protein is not None else None
    rna_tokens, rna_offsets = _concatenate([no_rna if item.rna is None else item.rna for item in transcripts])
    protein_tokens, protein_offsets = _concatenate(
        [no_protein if item.protein is None else item.protein for item in transcripts]
    )
    stacked = np.stack(windows) if windows and not dna_reads_tokens else np.empty((0, config.window_bp), dtype=np.uint8)
    return PackedBatch(
        windows=stacked,
        window_of_transcript=window_of_transcript,
        dna_tokens=dna_tokens,
        dna_offsets=dna_offsets,
        rna_tokens=rna_tokens,
        rna_offsets=rna_offsets,
        protein_tokens=protein_tokens,
        protein_offsets=protein_offsets,
        present=np.array(
            [[getattr(item, name) is not None for name in MODALITIES] for item in transcripts], dtype=bool
        ).reshape(-1, len(MODALITIES)),
    )


def collate(transcripts: Sequence[TranscriptInput], config: IsoFormerConfig) -> PackedBatch:
    """Tokenise and pack; see `tokenize` for what is cropped and what is refused."""
    return pack([tokenize(transcript, config) for transcript in transcripts], config)


def _concatenate(pieces: Sequence[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
    """Concatenated int32 tokens and int64 offsets (len + 1,) of pieces; None counts as empty."""
    offsets = np.zeros(len(pieces) + 1, dtype=np.int64)
    np.cumsum([0 if piece is None else len(piece) for piece in pieces], out=offsets[1:])
    kept = [piece for piece in pieces if piece is not None]
    tokens = np.concatenate(kept).astype(np.int32) if kept else np.empty(0, dtype=np.int32)
    return tokens, offsets
