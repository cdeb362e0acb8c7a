"""A checkpoint under the names that the tables use, whatever spelling the file has."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet

from model.checkpoint_files import CheckpointFiles, TensorFacts
from model.errors import InputError
from model.key_maps import SPELLINGS, UNUSED, KeyMapFile


class RenamedCheckpoint:
    """`names`: each name as the tables spell it → the names in the file that it stands for, usually one."""

    def __init__(self, files: CheckpointFiles, corrections: KeyMapFile) -> None:
        self.files = files
        self.corrections = corrections
        self.names: dict[str, list[str]] = {}
        for raw in sorted(files.tensors):
            name = raw
            for pattern, text in (*corrections.rename.items(), *SPELLINGS.items()):
                name = re.sub(pattern, text, name)
            self.names.setdefault(name, []).append(raw)

    def facts(self, name: str) -> TensorFacts:
        """Shape and type of a renamed tensor."""
        return self.files.tensors[self.names[name][0]]

    def prefixes_of(self, anchor: str, rows: int | None) -> list[str]:
        """What stands before `anchor` in the file's names, where that tensor has `rows` rows (None: any)."""
        found = [name for name in self.names if name == anchor or name.endswith(f".{anchor}")]
        return [name.removesuffix(anchor) for name in found if rows is None or self.facts(name).shape[:1] == (rows,)]

    def prefix_of(self, anchor: str, rows: int | None, part: str) -> str:
        """The one prefix of a network; none or several raise `InputError`."""
        prefixes = self.prefixes_of(anchor, rows)
        if len(prefixes) == 1:
            return prefixes[0]
        of_rows = "" if rows is None else f" with {rows} rows"
        shown = ", ".join(sorted(self.names)[:5])
        misshapen = [f"misshapen {at}{anchor} {self.facts(at + anchor).shape}" for at in self.prefixes_of(anchor, None)]
        raise InputError(
            where=str(self.files.path),
            expected=f"one tensor {anchor}{of_rows}, under any prefix: by it the names of {part} are found",
            found=", ".join(f"{prefix}{anchor}" for prefix in prefixes)
            or ", ".join(misshapen)
            or f"missing {anchor}; names such as {shown}",
            fix=f"Give a checkpoint that holds {part}, or name its prefix in a key map (docs/weights.md).",
        )

    def unused(self, known: AbstractSet[str]) -> dict[str, list[str]]:
        """Names besides `known` that the tables or the user call unused, by reason."""
        by_reason: dict[str, list[str]] = {}
        patterns = {**UNUSED, **self.corrections.unused}
        for name in self.names.keys() - known:
            reason = next((reason for pattern, reason in patterns.items() if re.search(pattern, name)), None)
            if reason is not None:
                by_reason.setdefault(reason, []).append(name)
        return by_reason
