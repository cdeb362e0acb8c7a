"""Plain, gzipped and bgzipped text as blocks of whole lines; a damaged file is told by name, never read in part."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from model.errors import InputError

READ_BYTES = 1 << 20
BLOCK_BYTES = 1 << 24
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP = 16 + zlib.MAX_WBITS


def read_blocks(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Decompressed content in blocks of about `block_bytes`, each ending with a line end.

    The last line gets a line end where it lacks one. Raises `InputError` for a missing, empty, truncated or corrupt
    file.
    """
    pieces: list[bytes] = []
    size = 0
    empty = True
    for piece in _decompressed(path):
        empty = False
        pieces.append(piece)
        size += len(piece)
        if size < block_bytes:
            continue
        text = b"".join(pieces)
        cut = text.rfind(b"\n") + 1
        if cut:
            yield text[:cut]
        pieces, size = [text[cut:]], len(text) - cut
    rest = b"".join(pieces)
    if rest:
        yield rest if rest.endswith(b"\n") else rest + b"\n"
    if empty:
        raise InputError(where=str(path), expected="text", found="an empty file", fix="Fetch the file again.")


def _decompressed(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as handle:
            magic = handle.read(2)
            handle.seek(0)
            yield from _inflated(path, handle) if magic == _GZIP_MAGIC else _plain(handle)
    except OSError as error:
        raise InputError(
            where=str(path), expected="a readable file", found=error.strerror or str(error), fix="Check the path."
        ) from None


def _plain(handle: BinaryIO) -> Iterator[bytes]:
    while piece := handle.read(READ_BYTES):
        yield piece


def _inflated(path: Path, handle: BinaryIO) -> Iterator[bytes]:
    """All members of a gzip file: bgzip writes thousands, pigz and `cat` several."""
    inflate = zlib.decompressobj(_GZIP)
    started = False  # inside a member
    try:
        while compressed := handle.read(READ_BYTES):
            while compressed:
                piece = inflate.decompress(compressed)
                started = True
                if piece:
                    yield piece
                if not inflate.eof:
                    break
                compressed = inflate.unused_data.lstrip(b"\0")  # gzip allows zeros after a member
                inflate = zlib.decompressobj(_GZIP)
                started = False
    except zlib.error as error:
        raise _damaged(path, handle, str(error)) from None
    if started:
        raise _damaged(path, handle, "the end of the file in the middle of the data")


def _damaged(path: Path, handle: BinaryIO, found: str) -> InputError:
    return InputError(
        where=f"{path}, near compressed byte {handle.tell():,}",
        expected="whole gzip data",
        found=found,
        fix="The file is truncated or damaged: fetch it again.",
    )
