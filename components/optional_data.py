"""Files that a user may give beside the four raw ones: gene families, regions, and the dataset before this one."""

from __future__ import annotations

from pathlib import Path

from components.sections import DataParams
from model.errors import InputError

OPTIONAL_NAMES: dict[str, str] = {
    "families": "a table of genes and their families",
    "regions": "a BED file of regions",
    "previous": "the transcripts artifact of the dataset before this one",
}


def find_optional_data(folder: Path, data: DataParams) -> dict[str, Path]:
    """Paths of the optional inputs that `data` names, by name; a relative one is looked up in `folder`.

    One that is named and not there, or empty, raises `InputError`.
    """
    found = {}
    for name, what in OPTIONAL_NAMES.items():
        named = getattr(data, name)
        if named is None:
            continue
        path = folder / named
        if not path.exists() or (path.is_file() and path.stat().st_size == 0):
            raise InputError(
                where=str(path),
                expected=what,
                found="an empty file" if path.exists() else "nothing",
                fix=f"Put it there, or correct data.{name} in params.yaml.",
            )
        found[name] = path
    return found
