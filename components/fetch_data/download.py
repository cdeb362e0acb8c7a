"""One file over HTTP, gone on with where it was cut (RFC 9110: ranges in section 14, If-Range in 13.1.5)."""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any

from components.artifacts import canonical_json
from components.progress import track
from model.errors import InputError

READ_BYTES = 1 << 20
TIMEOUT_S = 60.0
# Failures in a row that bring nothing; each that brings something starts the count anew.
ATTEMPTS = 5
_MB = 1_000_000
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True)
class Told:
    """What a server says of a file: `validator` names its version, empty where it names none; `md5` hexadecimal."""

    address: str
    validator: str
    size_bytes: int | None
    md5: str | None


class _NotThereError(Exception):
    """This address does not give the file."""


class _InterruptedError(Exception):
    """The connection failed or was cut; another try may go on."""


def download(
    addresses: Sequence[str], partial: Path, *, name: str, size_bytes: int | None, wait: Callable[[float], object]
) -> Told:
    """Bring the whole file to `partial`, from the first of `addresses` that gives it; returns what was told of it.

    What `partial` holds of an earlier try is kept where the server still has the same version. `size_bytes` is what it
    must have, if that is known; `wait` is called with seconds between tries. Raises `InputError` where no address gives
    the file; what has arrived stays for the next call.
    """
    refusals = []
    for address in addresses:
        try:
            return _persist(address, partial, name, size_bytes, wait)
        except _NotThereError as error:
            refusals.append(f"{error} ({address})")
    raise InputError(
        where=name,
        expected="the file at one of its addresses",
        found="; ".join(refusals),
        fix="Check the network and the address; the same command goes on with what has arrived.",
    )


def state_of(partial: Path) -> Path:
    """Where it is kept which version of the file `partial` holds a part of."""
    return partial.with_name(f"{partial.name}.json")


def _persist(address: str, partial: Path, name: str, size_bytes: int | None, wait: Callable[[float], object]) -> Told:
    failures = 0
    while True:
        before = _size(partial)
        try:
            return _transfer(address, partial, name, size_bytes)
        except _InterruptedError as error:
            failures = 1 if _size(partial) > before else failures + 1
            if failures >= ATTEMPTS:
                raise _NotThereError(f"{error}, {ATTEMPTS} times in a row; {_size(partial):,} bytes are kept") from None
            wait(min(2.0**failures, 30.0))


def _transfer(address: str, partial: Path, name: str, size_bytes: int | None) -> Told:
    """One connection: returns when the file is whole."""
    before = _read_state(partial, address)
    have = _size(partial) if before else 0
    if before and have == before.size_bytes:
        return before
    with _open(address, have, before.validator if before else "") as reply:
        told = _told(address, reply)
        if reply.status == 206:
            start, total = _range_of(reply)
            if before is None or start != have or total != before.size_bytes:
                discard(partial)
                raise _InterruptedError("the server sent another part than was asked for")
            told = before
        else:
            have = 0  # it knows no ranges, or has another version now
        _refuse_other_size(told, size_bytes)
        _refuse_full_disk(partial, told, have)
        state_of(partial).write_text(canonical_json(asdict(told)), encoding="utf-8")
        with partial.open("r+b" if have else "wb") as handle:
            handle.truncate(have)
            handle.seek(have)
            _copy(reply, handle, name, told, have)
    if told.size_bytes is not None and _size(partial) != told.size_bytes:
        raise _InterruptedError(f"the connection ended after {_size(partial):,} of {told.size_bytes:,} bytes")
    return told


class _KeepSafe(urllib.request.HTTPRedirectHandler):
    """Follows no redirect from an encrypted address to one that is not."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise _NotThereError(f"a redirect to the unencrypted address {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(address: str, have: int, validator: str) -> http.client.HTTPResponse:
    headers = {"User-Agent": "isoformer-fetch-data", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - sources.py allows http and https only
    try:
        reply: http.client.HTTPResponse = urllib.request.build_opener(_KeepSafe).open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code in _PASSING or (error.code == 416 and have):
            raise _InterruptedError(f"HTTP {error.code} {error.reason}") from None
        raise _NotThereError(f"HTTP {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _InterruptedError(f"no connection ({getattr(error, 'reason', error)})") from None
    return reply


def _told(address: str, reply: http.client.HTTPResponse) -> Told:
    headers = reply.headers
    if headers.get("Content-Encoding", "identity") != "identity":
        raise _NotThereError(f"an answer encoded as {headers['Content-Encoding']}, which was not asked for")
    if headers.get_content_type() == "text/html":
        raise _NotThereError("a web page in place of the file")
    length = headers.get("Content-Length", "")
    size = int(length) if length.isdigit() else None
    if size is None and not reply.chunked:
        raise _NotThereError("an answer that does not tell where the file ends")
    etag = headers.get("ETag", "")
    # A weak tag does not promise equal bytes.
    validator = etag if etag.startswith('"') else headers.get("Last-Modified", "")
    return Told(address, validator, size, _md5(headers))


def _md5(headers: Message) -> str | None:
    """The digest that object stores tell (Content-MD5, or x-goog-hash of Google's)."""
    found = [headers.get("Content-MD5", "")]
    for value in headers.get_all("x-goog-hash", []):
        found += [part.strip().removeprefix("md5=") for part in value.split(",") if part.strip().startswith("md5=")]
    for text in filter(None, found):
        try:
            return base64.b64decode(text, validate=True).hex()
        except binascii.Error:
            continue
    return None


def _range_of(reply: http.client.HTTPResponse) -> tuple[int, int]:
    match = _CONTENT_RANGE.fullmatch(reply.headers.get("Content-Range", ""))
    return (int(match[1]), int(match[3])) if match else (-1, -1)


def _refuse_other_size(told: Told, size_bytes: int | None) -> None:
    if size_bytes is not None and told.size_bytes not in (None, size_bytes):
        raise _NotThereError(f"a file of {told.size_bytes:,} bytes where {size_bytes:,} are on record")


def _refuse_full_disk(partial: Path, told: Told, have: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    missing = (told.size_bytes or 0) - have
    if missing > free:
        raise InputError(
            where=str(partial.parent),
            expected=f"{missing / _MB:,.0f} MB of free space",
            found=f"{free / _MB:,.0f} MB",
            fix="Free some, or choose another --out.",
        )


def _copy(reply: http.client.HTTPResponse, handle: IO[bytes], name: str, told: Told, have: int) -> None:
    left = None if told.size_bytes is None else (told.size_bytes - have) // _MB
    kept = f" (after {have // _MB:,} MB that are here)" if have else ""
    done = shown = 0
    with track(left, f"fetch {name}{kept}", "MB") as advance:
        while True:
            try:
                piece = reply.read(READ_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise _InterruptedError(f"the connection broke ({error})") from None
            if not piece:
                return
            handle.write(piece)
            done += len(piece)
            advance(done // _MB - shown)
            shown = done // _MB


def _read_state(partial: Path, address: str) -> Told | None:
    """What was told of the file that `partial` is a part of; None where it cannot be gone on with."""
    try:
        told = Told(**json.loads(state_of(partial).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    fits = told.address == address and told.validator and told.size_bytes is not None
    return told if fits and 0 < _size(partial) <= (told.size_bytes or 0) else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def discard(partial: Path) -> None:
    """Remove what has arrived."""
    partial.unlink(missing_ok=True)
    state_of(partial).unlink(missing_ok=True)


def finish(partial: Path, target: Path) -> None:
    """Sync the whole file to disk and give it its name."""
    with partial.open("rb") as handle:
        os.fsync(handle.fileno())
    os.replace(partial, target)
    state_of(partial).unlink(missing_ok=True)
