"""Versions of models and who is champion, in a folder or an object store, through fsspec.

Layout below the root::

    versions/<version>/record.json              written last and exclusively: a version exists once its record does
    versions/<version>/signature.json           of its package, where it was signed
    versions/<version>/<payload digest>/...     the files of the packaged model
    promotions/000001.json                      numbered, each created exclusively; the newest names the champion

Nothing is ever changed or deleted: a rollback is one more promotion. Two promotions at the same moment ask for the
same number; one gets it, the other looks again and takes the next, so none is lost.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from components.artifacts import canonical_json, sha256_file
from model.errors import InputError

RECORD_SCHEMA_VERSION = 1
SIGNATURE = "signature.json"
Record = dict[str, Any]
Records = list[Record]
_VERSION = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}")
_PROMOTION = re.compile(r"(\d{6,})\.json")


def version_name(model_digest: str, package_digest: str) -> str:
    """The name of a version: 16 digits of the model's digest, 8 of the digest of all else that was packaged."""
    return f"{model_digest[:16]}-{package_digest[:8]}"


class Registry:
    """A registry at `root`: a folder, or any URL that fsspec opens (s3://bucket/prefix)."""

    def __init__(self, root: str | Path) -> None:
        import fsspec

        self.root = str(root)
        self._fs, self._base = fsspec.core.url_to_fs(self.root)
        self._local = "file" in (self._fs.protocol if isinstance(self._fs.protocol, tuple) else (self._fs.protocol,))

    def register(self, record: Mapping[str, Any], payload: Path, *, signature: bytes | None = None) -> str:
        """Store the files of `payload`, the signature, and then the record; returns the version's name.

        `record` must hold `model_digest`, `package_digest` and `payload_digest`. A version that is there already stays
        as it is.
        """
        version = version_name(record["model_digest"], record["package_digest"])
        place = self._path("versions", version, "record.json")
        if self._fs.exists(place):
            return version
        files = []
        for file in sorted(path for path in payload.rglob("*") if path.is_file()):
            name = file.relative_to(payload).as_posix()
            self._put(file, self._path("versions", version, record["payload_digest"], name))
            files.append({"path": name, "size": file.stat().st_size, "sha256": sha256_file(file)})
        if signature is not None:
            # Whoever lost the race to another writer keeps the other's, of the same files.
            self._create(self._path("versions", version, SIGNATURE), signature)
        full = {
            **record,
            "signed": signature is not None,
            "schema_version": RECORD_SCHEMA_VERSION,
            "version": version,
            "registered": _now(),
            "files": files,
        }
        # Losing the race is fine: the other writer registered the same version.
        self._create(place, canonical_json(full).encode())
        return version

    def list(self) -> Records:
        """Records of all versions without their file lists, oldest first, each with `champion` and `promotions`."""
        promotions = self.promotions()
        champion = promotions[-1]["version"] if promotions else None
        records = []
        for name in self._names("versions"):
            place = self._path("versions", name, "record.json")
            if not _VERSION.fullmatch(name) or not self._fs.exists(place):
                continue
            record = self._read(place)
            record.pop("files", None)
            record["champion"] = name == champion
            record["promotions"] = [item["number"] for item in promotions if item["version"] == name]
            records.append(record)
        return sorted(records, key=lambda record: (record["registered"], record["version"]))

    def show(self, version: str) -> Record:
        """The record of a version, named by its name, its model digest, or an unambiguous beginning of either."""
        return self._read(self._path("versions", self.resolve(version), "record.json"))

    def resolve(self, version: str) -> str:
        """The full name of a version; an unknown or ambiguous one raises `InputError`."""
        names = [record["version"] for record in self.list() if _is_named(record, version)]
        if len(names) != 1 or not version:
            raise InputError(
                where=f"registry {self.root}",
                expected="the name of one version",
                found=f"{version!r}, which fits {', '.join(names) or 'none'}",
                fix="`isoformer registry list` shows the versions.",
            )
        return str(names[0])

    def promotions(self) -> Records:
        """All promotion records, oldest first."""
        numbers = sorted(int(match[1]) for name in self._names("promotions") if (match := _PROMOTION.fullmatch(name)))
        return [self._read(self._promotion_path(number)) for number in numbers]

    def champion(self) -> Record | None:
        """The newest promotion record, None before the first."""
        promotions = self.promotions()
        return promotions[-1] if promotions else None

    def promote(self, version: str, *, reason: str = "by hand") -> Record:
        """Make a version champion; returns the new promotion record, or the standing one if it is champion already."""
        name = self.resolve(version)

        def decide(history: Records) -> Record | None:
            return None if history and history[-1]["version"] == name else self._promotion(name, reason)

        return self._append(decide) or self._standing()

    def promote_if(self, version: str, judge: Callable[[Record | None], str | None]) -> Record | None:
        """Make a version champion where `judge`, given the champion's version record, returns a reason.

        The champion that was judged is the one that is replaced: if another promotion comes between, `judge` is asked
        again. A version that was champion before is not promoted again: it was superseded or rolled back on purpose.
        Returns the new promotion record or None.
        """
        name = self.resolve(version)

        def decide(history: Records) -> Record | None:
            if any(item["version"] == name for item in history):
                return None
            champion = self._read(self._path("versions", history[-1]["version"], "record.json")) if history else None
            reason = judge(champion)
            return self._promotion(name, reason) if reason else None

        return self._append(decide)

    def rollback(self, *, reason: str = "rollback") -> Record:
        """Promote again what was champion before the present champion; twice goes back by two."""

        def decide(history: Records) -> Record:
            by_number = {item["number"]: item for item in history}
            position = _origin(by_number, history[-1]["number"]) if history else 0
            if position <= 1:
                raise InputError(
                    where=f"registry {self.root}",
                    expected="an earlier champion",
                    found="none",
                    fix="Promote a version by name: `isoformer registry promote VERSION`.",
                )
            target = _origin(by_number, position - 1)
            return {**self._promotion(by_number[target]["version"], reason), "restores": target}

        promoted = self._append(decide)
        return promoted if promoted is not None else self._standing()

    def fetch(self, version: str, cache: Path, *, names: Collection[str] | None = None) -> Path:
        """A local folder with the verified files of a version: the registry's own, or a copy below `cache`.

        `names`: only these, of those that there are.
        """
        record = self.show(version)
        source = self._path("versions", record["version"], record["payload_digest"])
        folder = Path(source) if self._local else cache / record["version"] / record["payload_digest"]
        for entry in record["files"]:
            if names is not None and entry["path"] not in names:
                continue
            file = folder / entry["path"]
            if not self._local and not file.is_file():
                file.parent.mkdir(parents=True, exist_ok=True)
                partial = file.with_name(f".{file.name}.partial-{os.getpid()}")
                self._fs.get_file(f"{source}/{entry['path']}", str(partial))
                os.replace(partial, file)
            if not file.is_file() or sha256_file(file) != entry["sha256"]:
                raise InputError(
                    where=str(file),
                    expected=f"the file as version {record['version']} was registered",
                    found="other bytes" if file.is_file() else "no such file",
                    fix="The registry or its copy is damaged: delete this file's folder and package the model again.",
                )
        return folder

    def fetch_signature(self, version: str, cache: Path) -> Path | None:
        """A local file with the signature of a version, None where it was not signed."""
        name = self.resolve(version)
        place = self._path("versions", name, SIGNATURE)
        if self._local:
            return Path(place) if Path(place).is_file() else None
        if not self._fs.exists(place):
            return None
        copy = cache / name / SIGNATURE
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(self._fs.cat_file(place))
        return copy

    def _append(self, decide: Callable[[Records], Record | None]) -> Record | None:
        """Create the next-numbered promotion that `decide` makes of the history; decide again when it is lost."""
        while True:
            history = self.promotions()
            promotion = decide(history)
            if promotion is None:
                return None
            number = history[-1]["number"] + 1 if history else 1
            full = {**promotion, "number": number, "replaces": history[-1]["version"] if history else None}
            if self._create(self._promotion_path(number), canonical_json(full).encode()):
                return full

    def _promotion(self, version: str, reason: str) -> Record:
        return {"schema_version": RECORD_SCHEMA_VERSION, "version": version, "reason": reason, "time": _now()}

    def _standing(self) -> Record:
        champion = self.champion()
        assert champion is not None
        return champion

    def _promotion_path(self, number: int) -> str:
        return self._path("promotions", f"{number:06d}.json")

    def _path(self, *parts: str) -> str:
        return "/".join((self._base.rstrip("/"), *parts))

    def _names(self, folder: str) -> tuple[str, ...]:
        place = self._path(folder)
        # A listing kept from before would hide what other processes have promoted since.
        self._fs.invalidate_cache(place)
        if not self._fs.exists(place):
            return ()
        return tuple(entry.rstrip("/").rsplit("/", 1)[-1] for entry in self._fs.ls(place, detail=False))

    def _read(self, place: str) -> Record:
        try:
            return dict(json.loads(self._fs.cat_file(place)))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                where=place, expected="a JSON record", found=f"unreadable ({error})", fix="The registry is damaged."
            ) from None

    def _put(self, file: Path, place: str) -> None:
        """Copy a file; it is there whole or not at all."""
        if not self._local:
            self._fs.put_file(str(file), place)
            return
        target = Path(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=target.parent, prefix=".partial-")
        try:
            with file.open("rb") as source, os.fdopen(descriptor, "wb") as copy:
                while chunk := source.read(1 << 20):
                    copy.write(chunk)
                copy.flush()
                os.fsync(copy.fileno())
            Path(partial).chmod(0o644)
            os.replace(partial, target)
        finally:
            Path(partial).unlink(missing_ok=True)

    def _create(self, place: str, content: bytes) -> bool:
        """Create a record that nobody else created; False where somebody did.

        On a local disk a hard link makes it appear whole and at once; elsewhere the store's conditional write does.
        """
        if not self._local:
            try:
                self._fs.pipe_file(place, content, mode="create")
            except FileExistsError:
                return False
            return True
        target = Path(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=target.parent, prefix=".partial-")
        try:
            with os.fdopen(descriptor, "wb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            Path(partial).chmod(0o644)
            os.link(partial, target)
        except FileExistsError:
            return False
        finally:
            Path(partial).unlink(missing_ok=True)
        return True


def _is_named(record: Mapping[str, Any], version: str) -> bool:
    return str(record["version"]).startswith(version) or str(record["model_digest"]).startswith(version)


def _origin(by_number: Mapping[int, Mapping[str, Any]], number: int) -> int:
    """The promotion that a chain of rollbacks leads back to."""
    while "restores" in by_number[number]:
        number = int(by_number[number]["restores"])
    return number


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
