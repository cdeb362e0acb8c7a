"""Tensors of a checkpoint on disk, read one at a time: one safetensors file, or shards that an index names."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePath

from safetensors import SafetensorError, safe_open
from torch import Tensor

from model.errors import InputError

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class TensorFacts:
    """Where a tensor is, its shape, and its type as safetensors names it (F32, BF16, …)."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


class CheckpointFiles:
    """A checkpoint at a path: a safetensors file, an index of shards, or a folder that holds one of the two.

    `tensors`: facts by name. Raises `InputError` where the path is none of these, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        main = _main_file(path)
        self.files = sorted(_shards(main)) if main.name.endswith(".index.json") else [main]
        self.tensors: dict[str, TensorFacts] = {}
        self.metadata: dict[str, str] = {}
        self._open = {}
        for file in self.files:
            try:
                handle = safe_open(file, "pt")
            except (OSError, SafetensorError) as error:
                raise InputError(
                    where=str(file),
                    expected="a safetensors file",
                    found=str(error),
                    fix="Give a whole safetensors file; `isoformer convert-weights` makes one of a .bin file.",
                ) from None
            self._open[file] = handle
            self.metadata |= handle.metadata() or {}
            for name in handle.keys():  # noqa: SIM118 - not a mapping
                if name in self.tensors:
                    raise InputError(
                        where=str(file),
                        expected="each tensor in one shard",
                        found=f"{name} in {self.tensors[name].file.name} too",
                        fix="Download the checkpoint again.",
                    )
                part = handle.get_slice(name)
                self.tensors[name] = TensorFacts(file, tuple(part.get_shape()), part.get_dtype())

    @property
    def folder(self) -> Path:
        """The folder that the checkpoint lies in."""
        return self.files[0].parent

    def read(self, name: str) -> Tensor:
        """One tensor, on the CPU, in its stored type."""
        tensor: Tensor = self._open[self.tensors[name].file].get_tensor(name)
        return tensor

    def digests(self) -> dict[str, str]:
        """sha256 of each file by its name."""
        return {file.name: sha256_of(file) for file in self.files}

    def config(self) -> dict[str, object]:
        """config.json beside the tensors as Hugging Face writes it; empty where there is none."""
        path = self.folder / "config.json"
        if not path.is_file():
            return {}
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                where=str(path), expected="JSON", found=str(error), fix="Download the file again, or remove it."
            ) from None
        return data if isinstance(data, dict) else {}


def sha256_of(file: Path) -> str:
    """Digest of a file's bytes."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _main_file(path: Path) -> Path:
    """The safetensors file or index that a path stands for."""
    if path.is_dir():
        for name in (WEIGHTS_FILE, INDEX_FILE):
            if (path / name).is_file():
                return path / name
        pickles = sorted(item.name for item in path.iterdir() if item.suffix in PICKLE_SUFFIXES)
        raise InputError(
            where=str(path),
            expected=f"a folder with {WEIGHTS_FILE} or {INDEX_FILE}",
            found=f"none of them, but {', '.join(pickles)}" if pickles else "none of them",
            fix=f"Run `isoformer convert-weights {path / pickles[0]} OUT.safetensors` once, and give its output."
            if pickles
            else "Give the folder or the file that the weights are in.",
        )
    if path.suffix in PICKLE_SUFFIXES:
        raise InputError(
            where=str(path),
            expected="safetensors",
            found="a format that can run code when it is read",
            fix=f"Run `isoformer convert-weights {path} OUT.safetensors` once, and give its output.",
        )
    if not path.is_file():
        raise InputError(
            where=str(path), expected="a file of weights", found="no such file", fix="Correct the path; it is local."
        )
    return path


def _shards(index: Path) -> set[Path]:
    """The files that an index names, all of them beside it."""
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            where=str(index),
            expected="an index with a weight_map of tensors to files",
            found=repr(error),
            fix="Download the index again.",
        ) from None
    for name in names:
        if not isinstance(name, str) or PurePath(name).name != name or not (index.parent / name).is_file():
            raise InputError(
                where=str(index),
                expected="names of files beside the index",
                found=repr(name),
                fix="Download every shard into the folder of the index.",
            )
    if not names:
        raise InputError(where=str(index), expected="at least one shard", found="none", fix="Download it again.")
    return {index.parent / name for name in names}
