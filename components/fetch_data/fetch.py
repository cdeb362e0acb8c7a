"""Fetching the files of a table of sources into a folder: each whole and as recorded, or not there."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from components.fetch_data.download import READ_BYTES, Told, discard, download, finish
from components.fetch_data.sources import Record, SourceFile, Sources, read_records, write_records
from components.progress import track
from model.errors import InputError

_MB = 1_000_000
_GZIP_MAGIC = b"\x1f\x8b"


def fetch(
    sources: Sources,
    folder: Path,
    lock: Path,
    *,
    names: Sequence[str],
    say: Callable[[str], None],
    wait: Callable[[float], object] = time.sleep,
) -> None:
    """Bring the files `names` of `sources` into `folder`; `lock` keeps size and sha256 of what came first.

    A file that is there is read and compared with its record. Raises `InputError` where a file cannot be had, is not
    what was recorded, or lies there without a record; `say` is told a line per file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        for name in names:
            say(_fetch_one(name, sources.files[name], folder, lock, wait))


def chosen(sources: Sources, only: Sequence[str], everything: bool) -> list[str]:
    """Names of the files that are wanted: those named, else all that are not optional."""
    for name in only:
        if name not in sources.files:
            raise InputError(
                where="--only",
                expected=f"one of {', '.join(sources.files)}",
                found=repr(name),
                fix="Correct the name.",
            )
    return list(only) or [name for name, file in sources.files.items() if everything or not file.optional]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second fetch out of the folder; the lock ends with the process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                where=str(folder),
                expected="a folder that no other fetch writes to",
                found="one that is at work there",
                fix="Wait for it, or choose another --out.",
            ) from None
        yield
    finally:
        os.close(descriptor)


def _fetch_one(name: str, file: SourceFile, folder: Path, lock: Path, wait: Callable[[float], object]) -> str:
    records = read_records(lock)
    record = records.get(file.addresses[0])
    sha256 = _expected_sha256(name, file, record, lock)
    size_bytes = record.size_bytes if record else file.size_bytes
    target, partial = folder / name, folder / f".{name}.partial"
    if target.exists():
        if sha256 is None:
            raise InputError(
                where=str(target),
                expected="no file, as none was fetched before",
                found="one whose origin is not on record",
                fix="Move it away, or give its sha256 in the table of sources.",
            )
        _compare(target, name, lock, sha256=sha256, md5=file.md5, size_bytes=size_bytes)
        return f"{target}: there already, as recorded"
    told = download(file.addresses, partial, name=name, size_bytes=size_bytes, wait=wait)
    try:
        _refuse_other_format(partial, name, told)
        fetched = _compare(
            partial, name, lock, sha256=sha256, md5=file.md5 or told.md5, size_bytes=size_bytes, origin=told.address
        )
    except InputError:
        discard(partial)
        raise
    if record is None:
        # Before the file gets its name: a crash between the two leaves what the next call finds and compares.
        write_records(lock, {**records, file.addresses[0]: fetched})
    finish(partial, target)
    verb = "compared with its record" if record else "recorded"
    return f"{target}: {fetched.size_bytes:,} bytes, sha256 {fetched.sha256[:12]}… {verb}"


def _expected_sha256(name: str, file: SourceFile, record: Record | None, lock: Path) -> str | None:
    if file.sha256 and record and file.sha256 != record.sha256:
        raise InputError(
            where=f"{lock}: {file.addresses[0]}",
            expected=f"the sha256 that the table of sources gives for {name}, {file.sha256}",
            found=record.sha256,
            fix="One of the two is wrong: correct the table, or remove the record.",
        )
    return file.sha256 or (record.sha256 if record else None)


def _refuse_other_format(path: Path, name: str, told: Told) -> None:
    with path.open("rb") as handle:
        start = handle.read(2)
    if name.endswith(".gz") and start != _GZIP_MAGIC:
        raise InputError(
            where=told.address,
            expected=f"a gzip file for {name}",
            found=f"one that starts with {start!r}",
            fix="Look at the address with a browser: it may ask for a login, or have moved.",
        )


def _compare(
    path: Path,
    name: str,
    lock: Path,
    *,
    sha256: str | None,
    md5: str | None,
    size_bytes: int | None,
    origin: str | None = None,
) -> Record:
    """Size and sha256 of a file; raises `InputError` where it is not what is expected."""
    found = path.stat().st_size
    where = origin or str(path)
    mend = (
        f"If the new content is meant, remove the record of {name} in {lock}."
        if origin
        else f"Delete it and fetch it again; if the content is meant, remove its record in {lock}."
    )
    if size_bytes not in (None, found):
        raise InputError(where=where, expected=f"the recorded {size_bytes:,} bytes", found=f"{found:,}", fix=mend)
    digests = _digests(path, name)
    for kind, expected in (("sha256", sha256), ("md5", md5)):
        if expected not in (None, digests[kind]):
            raise InputError(
                where=where, expected=f"content of {kind} {expected}", found=f"other content, {digests[kind]}", fix=mend
            )
    return Record(size_bytes=found, sha256=digests["sha256"])


def _digests(path: Path, name: str) -> dict[str, str]:
    hashes = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    done = 0
    with path.open("rb") as handle, track(path.stat().st_size // _MB, f"check {name}", "MB") as advance:
        while piece := handle.read(READ_BYTES):
            for item in hashes.values():
                item.update(piece)
            advance((done + len(piece)) // _MB - done // _MB)
            done += len(piece)
    return {kind: item.hexdigest() for kind, item in hashes.items()}
