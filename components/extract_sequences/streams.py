"""Plain, gzipped and bgzipped text as blocks of whole lines; a damaged file is told by name, never read in part.

Decompression runs in threads, beside whoever reads: two for bgzip, whose blocks are independent (SAM specification,
section 4.1), one for other gzip.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from components.background import ahead
from model.errors import InputError

READ_BYTES = 1 << 20
# Small enough for a CPU's cache, large enough for numpy.
BLOCK_BYTES = 1 << 22
# No single step of decompression gives more, however well the data was compressed.
_MAX_PIECE_BYTES = BLOCK_BYTES
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP = 16 + zlib.MAX_WBITS
_BGZF_HEADER = struct.Struct("<12sBBHH")
_BGZF_START = b"\x1f\x8b\x08\x04"
_THREADS = 2


class _TruncatedError(Exception):
    """The file ends within its data."""


def read_blocks(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Decompressed content in blocks of about `block_bytes`, each ending with a line end.

    The last line gets a line end where it lacks one. Raises `InputError` for a missing, empty, truncated or corrupt
    file.
    """
    pieces: list[bytes] = []
    size = 0
    empty = True
    for piece in _content(path):
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


def _content(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as handle:
            start = handle.read(_BGZF_HEADER.size)
            handle.seek(0)
            if not start.startswith(_GZIP_MAGIC):
                yield from _plain(handle)
            elif start.startswith(_BGZF_START) and start[12:14] == b"BC":
                yield from _in_order(_inflate_all, _bgzf_groups(handle))
            else:
                yield from ahead(_gunzipped(handle))
    except OSError as error:
        found = error.strerror or str(error)
        raise InputError(where=str(path), expected="a readable file", found=found, fix="Check the path.") from None
    except (zlib.error, _TruncatedError) as error:
        raise InputError(
            where=str(path),
            expected="whole gzip data",
            found=str(error) or "the end of the file in the middle of the data",
            fix="The file is truncated or damaged: fetch it again.",
        ) from None


def _plain(handle: BinaryIO) -> Iterator[bytes]:
    while piece := handle.read(READ_BYTES):
        yield piece


def _in_order(make: Callable[[list[bytes]], bytes], groups: Iterator[list[bytes]]) -> Iterator[bytes]:
    """make(group) in threads, a few ahead, in order."""
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for group in groups:
            waiting.append(pool.submit(make, group))
            if len(waiting) > _THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _gunzipped(handle: BinaryIO) -> Iterator[bytes]:
    """All members of a gzip file: pigz and `cat` write several."""
    inflate = zlib.decompressobj(_GZIP)
    started = False  # inside a member
    while compressed := handle.read(READ_BYTES):
        while compressed:
            started = True
            piece = inflate.decompress(compressed, _MAX_PIECE_BYTES)
            if piece:
                yield piece
            compressed = inflate.unconsumed_tail
            if inflate.eof:
                compressed = inflate.unused_data.lstrip(b"\0")  # gzip allows zeros after a member
                inflate = zlib.decompressobj(_GZIP)
                started = False
    if started:
        raise _TruncatedError


def _bgzf_groups(handle: BinaryIO) -> Iterator[list[bytes]]:
    """Whole compressed blocks, as many as come in one reading; the file must end with the empty block that marks it."""
    rest = last = b""
    while read := handle.read(READ_BYTES):
        data, at, group = rest + read, 0, []
        while at + _BGZF_HEADER.size <= len(data):
            magic, first, second, _, size = _BGZF_HEADER.unpack_from(data, at)
            if not magic.startswith(_BGZF_START) or (first, second) != (66, 67):
                raise zlib.error("another content between the blocks of bgzip")
            if at + size + 1 > len(data):
                break
            last = data[at : at + size + 1]
            group.append(last)
            at += size + 1
        rest = data[at:]
        if group:
            yield group
    if rest or _inflate(last):
        raise _TruncatedError


def _inflate_all(group: list[bytes]) -> bytes:
    return b"".join([_inflate(block) for block in group])


def _inflate(block: bytes) -> bytes:
    inflate = zlib.decompressobj(_GZIP)
    content = inflate.decompress(block)
    if not inflate.eof:
        raise _TruncatedError
    return content
