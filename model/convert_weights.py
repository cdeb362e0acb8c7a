"""Turn a published .bin or .pt checkpoint into safetensors, once, in a process of its own::

    python -m model.convert_weights pytorch_model.bin model.safetensors

The only place that opens such a file. torch reads tensors and plain containers of it, nothing else; still, the format
has let code through before, so nobody does this in a process that holds anything of value.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.errors import InputError

EXIT_INPUT_ERROR = 2
# Under these keys training frameworks keep the weights among other state.
CONTAINERS = ("state_dict", "model_state_dict", "model", "module")
SHOWN = 10


def convert_in_own_process(source: Path, target: Path) -> str:
    """Run the conversion in a child without the caller's environment; returns what it says. Raises `InputError`."""
    home = Path(__file__).resolve().parent.parent
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from model.convert_weights import main; sys.exit(main())"
    # -I: neither the current folder nor PYTHON* variables decide what is imported.
    command = [sys.executable, "-I", "-c", code, str(home), str(source.absolute()), str(target.absolute())]
    done = subprocess.run(command, env={"PATH": os.defpath}, capture_output=True, text=True, check=False)
    if done.returncode == EXIT_INPUT_ERROR:
        raise InputError(**json.loads(done.stderr.splitlines()[-1]))
    if done.returncode:
        raise RuntimeError(f"the conversion ended with status {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout.strip()


def convert(source: Path, target: Path) -> str:
    """Write the tensors of `source` to the new file `target`, which appears whole; returns a summary.

    Tensors that share memory are written once, under the first of their names.
    """
    from safetensors.torch import save_file

    if target.exists() or target.suffix != ".safetensors":
        raise InputError(
            where=str(target),
            expected="the name of a new .safetensors file",
            found="a file that exists" if target.exists() else "another ending",
            fix="Choose another name.",
        )
    tensors, other = _tensors_of(_opened(source), source)
    kept: dict[str, Any] = {}
    aliases: dict[str, str] = {}
    first_at: dict[tuple[Any, ...], str] = {}
    for name in sorted(tensors):
        tensor = tensors[name]
        memory = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride())
        if tensor.numel() and memory in first_at:
            aliases[name] = first_at[memory]
            continue
        first_at[memory] = name
        kept[name] = tensor.contiguous().clone()  # a view would carry its whole storage along
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.parent / f".{target.name}.partial"
    try:
        save_file(kept, staging, metadata={"format": "pt"})
        with staging.open("rb") as handle:
            os.fsync(handle.fileno())
        staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)
    lines = [f"{target}: {len(kept)} tensors, {sum(tensor.numel() for tensor in kept.values()):,} values"]
    lines += [_listed("written once, also known as", [f"{k} (= {v})" for k, v in aliases.items()])] if aliases else []
    lines += [_listed("left out, no tensors", other)] if other else []
    return "\n".join(lines)


def _opened(source: Path) -> Any:
    import zipfile

    import torch

    if not source.is_file():
        raise InputError(
            where=str(source), expected="a .bin or .pt file", found="no such file", fix="Correct the path."
        )
    if not zipfile.is_zipfile(source):
        raise InputError(
            where=str(source),
            expected="a checkpoint that torch.save wrote since 2020 (a zip archive)",
            found="another format",
            fix="Give the published .bin or .pt file; a safetensors file needs no conversion.",
        )
    try:
        return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file may raise
        raise InputError(
            where=str(source),
            expected="tensors by name, and nothing that would have to be run",
            found=(str(error).splitlines() or [repr(error)])[0][:300],
            fix="Download it again; a file that holds more than tensors is not opened.",
        ) from None


def _tensors_of(loaded: Any, source: Path) -> tuple[dict[str, Any], list[str]]:
    """The tensors by name, and the names of what else was there."""
    import torch

    if isinstance(loaded, Mapping):
        inner = [key for key in CONTAINERS if isinstance(loaded.get(key), Mapping)]
        if inner:
            loaded = loaded[inner[0]]
        tensors = {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
        if tensors:
            return tensors, [str(name) for name, value in loaded.items() if not isinstance(value, torch.Tensor)]
    raise InputError(
        where=str(source),
        expected="tensors by name, at the top or under state_dict or model",
        found=type(loaded).__name__,
        fix="Give the file of the weights.",
    )


def _listed(what: str, names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {what}: {', '.join(names[:SHOWN])}{more}"


def main() -> int:
    """Entry point of the child: bad input as one line of JSON on standard error, status 2."""
    try:
        print(convert(Path(sys.argv[1]), Path(sys.argv[2])))
    except InputError as error:
        facts = {"where": error.where, "expected": error.expected, "found": error.found, "fix": error.fix}
        print(json.dumps(facts), file=sys.stderr)
        return EXIT_INPUT_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())
