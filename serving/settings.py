"""Limits and places of the server, read once at start from ISOFORMER_SERVE_* environment variables."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model.errors import InputError

PREFIX = "ISOFORMER_SERVE_"
_MAY_BE_0 = frozenset(("budget_tokens", "window_cache_bytes"))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator may set; every field is the environment variable ISOFORMER_SERVE_<FIELD>.

    `package`: folder of the packaged model. `reference`: folder of a transcripts artifact, empty for none.
    `public_key`: PEM file; where given, the package must bear a `signature` (file) by its private half.
    `api_keys_file`: one key per line; empty: everyone may ask. `backend`: onnx (CPU) or torch (GPU). `threads`: of the
    numeric engine. `budget_tokens`: of one batch, over all modalities (a DNA window counts `window_bp` / 64); 0:
    measured at start. `queue_tokens`: what may wait; beyond it requests are answered 429. `deadline_s`: the longest
    that an answer is waited for.
    `window_cache_bytes`: for the states of DNA windows that were encoded before; 0 keeps none. `follow`: a file that
    names the package to serve (`serving.follow`), read every `follow_seconds`.
    `observations_dir`: folder for what monitoring reads, empty for none: lengths, composition and predictions, no
    sequence; a file per `observations_rows` transcripts or `observations_seconds`, all below `observations_bytes`.
    """

    package: str = str(Path(__file__).resolve().parent.parent / "package")
    reference: str = ""
    public_key: str = ""
    signature: str = ""
    api_keys_file: str = ""
    backend: str = "onnx"
    threads: int = 1
    max_body_bytes: int = 16_000_000
    max_items: int = 256
    max_residues: int = 1_000_000
    budget_tokens: int = 0
    queue_tokens: int = 262_144
    deadline_s: float = 30.0
    window_cache_bytes: int = 256_000_000
    follow: str = ""
    follow_seconds: float = 5.0
    observations_dir: str = ""
    observations_rows: int = 4_096
    observations_seconds: float = 60.0
    observations_bytes: int = 256_000_000

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings; an unknown ISOFORMER_SERVE_ variable or a value of the wrong type raises `InputError`."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        values: dict[str, str | int | float] = {}
        for variable, text in environment.items():
            name = variable.removeprefix(PREFIX).lower()
            if not variable.startswith(PREFIX):
                continue
            if name not in fields:
                known = ", ".join(PREFIX + field.upper() for field in sorted(fields))
                raise InputError(
                    where=variable, expected="a known setting", found="an unknown one", fix=f"Known: {known}."
                )
            convert = {"str": str, "int": int, "float": float}[str(fields[name].type)]
            try:
                values[name] = convert(text)
            except ValueError:
                raise InputError(
                    where=variable, expected=str(fields[name].type), found=repr(text), fix="Correct the value."
                ) from None
            if convert is not str and not (float(text) > 0 or (name in _MAY_BE_0 and float(text) == 0)):
                raise InputError(where=variable, expected="more than 0", found=text, fix="Correct the value.")
        return cls(**values)  # type: ignore[arg-type]
