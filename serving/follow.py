"""Which package to serve, as a file that is replaced when another version becomes champion.

`isoformer serve --follow` writes it; whoever runs the service otherwise may write it too: {"package": folder,
"signature": file or ""}. The server reads it every few seconds.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from model.errors import InputError
from serving.settings import Settings


@dataclass(frozen=True)
class Target:
    """The folder of a packaged model, and its signature, empty for none."""

    package: str
    signature: str = ""

    def applied(self, settings: Settings) -> Settings:
        """The settings with this package."""
        return replace(settings, package=self.package, signature=self.signature)


def read_target(file: str) -> Target | None:
    """What the file names; None where no file is named or there is none; `InputError` where it is damaged."""
    if not file or not Path(file).exists():
        return None
    try:
        record = json.loads(Path(file).read_text(encoding="utf-8"))
        return Target(str(record["package"]), str(record.get("signature") or ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            where=file,
            expected='{"package": folder, "signature": file}',
            found=type(error).__name__,
            fix="Write it anew, whole: beside, then renamed.",
        ) from None


def write_target(file: Path, target: Target) -> None:
    """Replace the file in one step."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_text(json.dumps({"package": target.package, "signature": target.signature}), encoding="utf-8")
    os.replace(partial, file)
