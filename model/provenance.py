"""Which published weights a model grew from: told by the loader, kept in the model card, read back from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from model.errors import InputError

# Licence of published weights by layout; what a user trains from them is bound by it.
LICENCES = {
    "enformer-pytorch": "Enformer weights: code Apache-2.0, weights CC-BY-4.0",
    "huggingface-esm2": "ESM-2 weights: MIT",
    "huggingface-nt-v2": "Nucleotide Transformer v2 weights: non-commercial use only",
    "isoformer-released": "IsoFormer weights: non-commercial use only",
    "isoformer": "weights trained with this software: Apache-2.0, unless they grew from others",
}


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What one loading of weights did.

    `part`: dna, rna, protein or isoformer. `layout`: a key of `LICENCES`. `files`: sha256 by file name. `tensors`,
    `parameters`: how many of ours were set. `dtype`: of the source. `ignored`: names of source tensors that the network
    has no use for, by reason. `new`: tensors of ours that were meant to keep their initial values. `notes`: what the
    user should know. `key_map`: sha256 of the user's key map. `verified`: whether the layout was ever run on the
    published file, or is reconstructed.
    """

    part: str
    layout: str
    files: Mapping[str, str]
    tensors: int
    parameters: int
    dtype: str
    licence: str
    ignored: Mapping[str, tuple[str, ...]]
    new: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    key_map: str | None = None
    verified: bool = True

    @property
    def sha256(self) -> str:
        """The digest of the file; of a sharded checkpoint all of them, joined by commas in the order of names."""
        return ",".join(digest for _, digest in sorted(self.files.items()))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; `from_dict` undoes it."""
        plain = asdict(self)
        plain["ignored"] = {reason: list(names) for reason, names in self.ignored.items()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}

    @classmethod
    def from_dict(cls, data: Any, where: str) -> LoadReport:
        """Read what `to_dict` wrote; anything else raises `InputError`."""
        known = {field.name for field in fields(cls)}
        try:
            values = dict(data)
            if values.keys() - known:
                raise ValueError(f"unknown keys {', '.join(sorted(values.keys() - known))}")
            values["ignored"] = {str(reason): tuple(names) for reason, names in values["ignored"].items()}
            return cls(**values | {name: tuple(values.get(name, ())) for name in ("new", "notes")})
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise InputError(
                where=where,
                expected="the record of a loading of weights",
                found=str(error),
                fix="Give the model card that was written with the model.",
            ) from None

    def summary(self) -> str:
        """One line for people."""
        ignored = sum(map(len, self.ignored.values()))
        new = f", {len(self.new)} left new" if self.new else ""
        unverified = "" if self.verified else "; layout UNVERIFIED against the published file"
        return (
            f"{self.part}: {self.tensors} tensors, {self.parameters:,} values from {', '.join(sorted(self.files))} "
            f"({self.layout}, {self.dtype}); {ignored} unused ignored{new}; {self.licence}{unverified}"
        )
