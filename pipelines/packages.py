"""What a compiled package says of itself: its name and its parameters, by which arguments are checked."""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.errors import InputError


def name_of(package: Path) -> str:
    """A name for a run of it: the pipeline's name and the time."""
    return f"{_spec(package)['pipelineInfo']['name']} {time.strftime('%Y-%m-%d %H:%M')}"


def given_arguments(package: Path, given: Sequence[str]) -> dict[str, str]:
    """The arguments of `name=value` texts; raises `InputError` for an unknown name, or a parameter without a value."""
    known = _spec(package).get("root", {}).get("inputDefinitions", {}).get("parameters", {})
    values: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(where="--arg", expected="name=value", found=text, fix="Write --arg data_uri=s3://…")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            expected = f"one of {', '.join(sorted(known))}"
            raise InputError(
                where="--arg", expected=expected, found=name, fix=f"Did you mean {near[0]}?" if near else "Choose one."
            )
        values[name] = value
    missing = sorted(name for name, entry in known.items() if not _optional(entry) and name not in values)
    if missing:
        raise InputError(
            where=str(package),
            expected=f"a value for {', '.join(missing)}",
            found="none",
            fix=" ".join(f"--arg {name}=…" for name in missing),
        )
    return values


def _optional(entry: dict[str, Any]) -> bool:
    return "defaultValue" in entry or bool(entry.get("isOptional"))


def _spec(package: Path) -> dict[str, Any]:
    import yaml

    if not package.is_file():
        raise InputError(
            where=str(package), expected="a compiled package", found="no file", fix="isoformer pipeline compile"
        )
    try:
        spec = next(yaml.safe_load_all(package.read_text(encoding="utf-8")))
        spec["pipelineInfo"]["name"]
    except (yaml.YAMLError, StopIteration, KeyError, TypeError, UnicodeDecodeError):
        raise InputError(
            where=str(package),
            expected="a pipeline specification in YAML",
            found="something else",
            fix="Make it with isoformer pipeline compile.",
        ) from None
    return dict(spec)
