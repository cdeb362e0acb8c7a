"""What passes between steps: a payload, a manifest that names every file by digest, and a record of the run.

An artifact is a folder::

    payload/       the data; no clock, host, run id or absolute path in it
    manifest.json  kind, schema version, files with size and sha256, digests of the inputs and of the configuration
    run.json       when, where and by which door it was made; outside every digest

It is written beside its place, synced to disk and renamed: it is there whole, or not at all.
"""

from __future__ import annotations

import contextvars
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.errors import InputError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
RUN_RECORD = "run.json"
PAYLOAD = "payload"

# By which way in a step was started (cli, dvc, kfp): told in run.json alone, so a context and no argument of steps.
door: contextvars.ContextVar[str] = contextvars.ContextVar("door", default="cli")


class AlreadyComplete(Exception):  # noqa: N818 - not an error
    """The place already holds exactly this artifact, whole and verified: there is nothing to do."""


@dataclass(frozen=True)
class Artifact:
    """A verified artifact on disk."""

    path: Path
    manifest: dict[str, Any]

    @property
    def payload(self) -> Path:
        """The folder of the data."""
        return self.path / PAYLOAD

    @property
    def digest(self) -> str:
        """sha256 over names and contents of the payload."""
        return str(self.manifest["payload_digest"])


@dataclass
class ArtifactWriter:
    """An artifact in the making: write files into `payload`, facts that are not data into `run`."""

    payload: Path
    run: dict[str, Any] = field(default_factory=dict)


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, one-space indent, no NaN, newline at the end."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write `canonical_json` of a value."""
    path.write_text(canonical_json(value), encoding="utf-8")


def digest_of(path: Path) -> str:
    """Digest of an input: a file's sha256, an artifact's payload digest, any other folder's digest over its files."""
    if path.is_dir():
        if (path / MANIFEST).is_file():
            return str(_read_manifest(path)["payload_digest"])
        return _digest_of_entries(_entries(path))
    if not path.is_file():
        raise InputError(where=str(path), expected="a file or an artifact", found="nothing", fix="Check the path.")
    return sha256_file(path)


def config_digest(config: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON of a configuration."""
    return hashlib.sha256(canonical_json(dict(config)).encode()).hexdigest()


@contextmanager
def write_artifact(
    out: Path, *, kind: str, inputs: Mapping[str, Path], config: Mapping[str, Any]
) -> Iterator[ArtifactWriter]:
    """Write an artifact of `kind` at `out`; on any error nothing of it is left.

    Raises `AlreadyComplete` where `out` already holds the artifact of the same inputs and configuration, and
    `InputError` where it holds something else.
    """
    input_digests = {name: digest_of(path) for name, path in sorted(inputs.items())}
    wanted = {"kind": kind, "inputs": input_digests, "config_digest": config_digest(config)}
    _refuse_occupied(out, kind, wanted)
    with staged(out) as staging:
        writer = ArtifactWriter(payload=staging / PAYLOAD)
        writer.payload.mkdir()
        started = time.time()
        yield writer
        files = _entries(writer.payload)
        manifest = {
            "schema_version": SCHEMA_VERSION,
            **wanted,
            "files": files,
            "payload_digest": _digest_of_entries(files),
        }
        write_json(staging / MANIFEST, manifest)
        write_json(staging / RUN_RECORD, _run_record(started, writer.run, config))


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder beside `out` that becomes `out`, synced to disk, if the block ends well, and is removed if not.

    `out` must be absent or an empty folder. What killed runs on this host left beside it is removed first.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(out)
    # A sibling, so that the rename stays within one file system; hidden, so that no listing takes it for the result.
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial.{platform.node()}.{os.getpid()}.", dir=out.parent))
    try:
        yield staging
        staging.chmod(0o755)
        _sync_tree(staging)
        os.rename(staging, out)
        _sync(out.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def open_artifact(path: Path, kind: str, *, verify: bool = True) -> Artifact:
    """Open an artifact and check that it is what its manifest says.

    A file that is missing, added, changed, truncated, a link, or named outside the payload raises `InputError` naming
    it. `verify=False` skips reading the contents, not the listing.
    """
    if not path.is_dir():
        raise InputError(
            where=str(path),
            expected=f"a folder with a {kind} artifact",
            found="a file" if path.exists() else "nothing",
            fix="Run the step that makes it, or correct the path.",
        )
    manifest = _read_manifest(path)
    if manifest["kind"] != kind:
        raise InputError(
            where=str(path),
            expected=f"a {kind} artifact",
            found=f"a {manifest['kind']} artifact",
            fix="Correct the path.",
        )
    payload = path / PAYLOAD
    listed = {entry["path"]: entry for entry in manifest["files"]}
    found = dict(_walk(payload))
    for name in sorted(listed.keys() | found.keys()):
        problem = _difference(payload, name, listed.get(name), found.get(name), verify)
        if problem:
            raise InputError(
                where=str(payload / name),
                expected="the file as its manifest lists it",
                found=problem,
                fix="The artifact is damaged: delete it and run the step again (or `dvc repro --force` / `dvc fetch`).",
            )
    if _digest_of_entries(manifest["files"]) != manifest["payload_digest"]:
        raise InputError(
            where=str(path / MANIFEST),
            expected="a payload digest that fits the listed files",
            found="another",
            fix="The manifest was edited: run the step again.",
        )
    return Artifact(path=path, manifest=manifest)


def _difference(payload: Path, name: str, listed: Mapping[str, Any] | None, size: int | None, verify: bool) -> str:
    """What is wrong with one file of a payload, empty if nothing."""
    if listed is None:
        return "a file that the manifest does not list"
    if size is None:
        return "no such file"
    if size != listed["size"]:
        return f"{size:,} bytes instead of {listed['size']:,}"
    if verify and sha256_file(payload / name) != listed["sha256"]:
        return "other bytes (its sha256 differs)"
    return ""


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        complete = {"schema_version", "kind", "files", "inputs", "config_digest", "payload_digest"} <= manifest.keys()
        well_formed = all({"path", "size", "sha256"} <= entry.keys() for entry in manifest["files"])
    except FileNotFoundError:
        raise InputError(
            where=str(path), expected="an artifact", found="a folder without manifest.json", fix="Correct the path."
        ) from None
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise InputError(
            where=str(file), expected="a manifest", found=f"unreadable JSON ({error})", fix="Run the step again."
        ) from None
    if not (complete and well_formed) or manifest["schema_version"] != SCHEMA_VERSION:
        raise InputError(
            where=str(file),
            expected=f"a manifest of schema version {SCHEMA_VERSION}",
            found=f"version {manifest.get('schema_version')} or missing keys",
            fix="Run the step again with this version.",
        )
    return dict(manifest)


def _refuse_occupied(out: Path, kind: str, wanted: Mapping[str, Any]) -> None:
    if out.is_symlink() or out.is_file():
        raise InputError(where=str(out), expected="a free place", found="a file or link", fix="Choose another --out.")
    if not out.exists() or not any(out.iterdir()):
        return
    if (out / MANIFEST).is_file():
        artifact = open_artifact(out, kind)
        if all(artifact.manifest[key] == value for key, value in wanted.items()):
            raise AlreadyComplete(str(out))
        found = "the artifact of another run (other inputs or configuration)"
    else:
        found = "a folder with other files"
    raise InputError(
        where=str(out), expected="an empty or absent folder", found=found, fix="Choose another --out or delete it."
    )


def _remove_abandoned(out: Path) -> None:
    """Remove what killed runs on this host left beside `out`; a living run's folder stays."""
    for folder in out.parent.glob(f".{out.name}.partial.{platform.node()}.*"):
        pid = folder.name.rsplit(".", 2)[-2]
        if pid.isdigit() and not _is_alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _walk(folder: Path) -> Iterator[tuple[str, int]]:
    """Relative POSIX names and sizes of all files below a folder; a link raises `InputError`."""
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            item = Path(root) / name
            if item.is_symlink():
                raise InputError(
                    where=str(item), expected="a plain file", found="a link", fix="Replace it by the file itself."
                )
        for name in files:
            item = Path(root) / name
            yield item.relative_to(folder).as_posix(), item.stat().st_size


def _entries(folder: Path) -> list[dict[str, Any]]:
    return [{"path": name, "size": size, "sha256": sha256_file(folder / name)} for name, size in sorted(_walk(folder))]


def _digest_of_entries(entries: list[dict[str, Any]]) -> str:
    lines = "".join(f"{entry['sha256']} {entry['size']} {entry['path']}\n" for entry in entries)
    return hashlib.sha256(lines.encode()).hexdigest()


def _run_record(started: float, facts: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    finished = time.time()
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(finished - started, 3),
        "host": platform.node(),
        "python": platform.python_version(),
        "door": door.get(),
        "command": sys.argv,
        "config": dict(config),
        **facts,
    }


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for root, _, files in os.walk(folder):
        for name in files:
            _sync(Path(root) / name)
        _sync(Path(root))
