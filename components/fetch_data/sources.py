"""Where official files come from (data/sources.yaml), and what was fetched (data/sources.lock.json beside it)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StringConstraints, ValidationError

from components.artifacts import canonical_json
from components.sections import Section
from model.errors import InputError

# A plain name: nothing that leads out of the folder, and nothing hidden.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
Address = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+/\S+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Md5 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class SourceFile(Section):
    """One file: `addresses` of equal content, tried in turn; digests and size where its publisher tells them."""

    what: str = ""
    licence: str = ""
    addresses: list[Address] = Field(min_length=1)
    size_bytes: int | None = Field(default=None, ge=1)
    sha256: Sha256 | None = None
    md5: Md5 | None = None
    optional: bool = False


class Sources(Section):
    """Files by the name that they get."""

    schema_version: Literal[1]
    files: dict[FileName, SourceFile] = Field(min_length=1)


class Record(Section):
    """What was fetched from an address."""

    size_bytes: int
    sha256: Sha256


class _Records(Section):
    schema_version: Literal[1]
    files: dict[str, Record]


def read_sources(path: Path) -> Sources:
    """Read a table of sources; anything wrong in it raises `InputError` naming the entry."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else f"an unreadable one ({error})"
        raise InputError(where=str(path), expected="a table of sources", found=found, fix="Give --sources.") from None
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(where=str(path), expected="YAML", found=reason, fix="Correct the syntax.") from None
    return _validated(Sources, tree, path)


def lock_of(sources: Path) -> Path:
    """Where records of what was fetched lie: beside the table of sources."""
    return sources.with_suffix(".lock.json")


def read_records(path: Path) -> dict[str, Record]:
    """Records by address; none where nothing was fetched yet."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(
            where=str(path),
            expected="records of fetched files",
            found=f"unreadable JSON ({error})",
            fix="Restore it from version control, or delete it to record anew.",
        ) from None
    return _validated(_Records, tree, path).files


def write_records(path: Path, records: dict[str, Record]) -> None:
    """Replace the records, whole or not at all."""
    content = _Records(schema_version=1, files=records).model_dump(mode="json")
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8") as handle:
            handle.write(canonical_json(content))
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _validated(kind: type[Any], tree: Any, path: Path) -> Any:
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"][0].lower() + first["msg"][1:]
        raise InputError(
            where=f"{path}: {key}" if key else str(path),
            expected=message,
            found=repr(first["input"])[:200],
            fix="Correct the entry.",
        ) from None
