"""The house rules that a machine can hold: one-way arrows, what each image does without, what nobody may write."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("model", "components", "pipelines", "serving", "benchmarks")
# room → rooms that it may import from.
ARROWS = {
    "model": {"model"},
    "components": {"model", "components"},
    "serving": {"model", "serving", "components"},
    "pipelines": {"model", "components", "pipelines"},
    "benchmarks": set(ROOMS),
}
SERVING_MAY_IMPORT = {"components.artifacts", "components.sequences", "components.variants", "components.registry"}
# What starts the server on the command line; it imports serving by name, when it is called.
STARTS_SERVING = {"pipelines/commands/serve.py"}


def sources(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Imported modules of a file, and whether the import runs when the module is loaded."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, id(node) in top
            yield from ((f"{node.module}.{alias.name}", id(node) in top) for alias in node.names)


def test_arrows_between_rooms_point_one_way() -> None:
    wrong = []
    for path in sources(*ROOMS):
        room = path.relative_to(ROOT).parts[0]
        for module, _ in imports(path):
            target = module.partition(".")[0]
            name = path.relative_to(ROOT).as_posix()
            if target in ROOMS and target not in ARROWS[room] and not (target == "serving" and name in STARTS_SERVING):
                wrong.append(f"{name} imports {module}")
    assert not wrong


def test_of_components_serving_imports_only_what_it_may() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources("serving")
        for module, _ in imports(path)
        if module.startswith("components.") and not any(module.startswith(name) for name in SERVING_MAY_IMPORT)
    ]
    assert not wrong


def test_wrappers_do_not_leak_into_the_logic() -> None:
    """kfp and typer are imported by wrappers only; a step's logic knows none of them."""
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources("model", "components", "serving")
        for module, _ in imports(path)
        if module.partition(".")[0] in {"kfp", "typer", "dvc"} and path.name not in {"component.py", "kubeflow.py"}
    ]
    assert not wrong


BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is not in this image")
sys.meta_path.insert(0, Blocker())
import importlib
for name in {modules!r}:
    importlib.import_module(name)
"""
IMAGES = {
    "data": (
        ["components.validate_data.step", "components.extract_sequences.step", "components.fabricate.step"],
        ["torch", "bentoml", "onnxruntime", "transformers", "sklearn", "dvc"],
    ),
    "train": (
        ["components.train_model.worker", "components.train_model.step", "components.evaluate_model.step"],
        ["bentoml", "onnxruntime", "great_expectations", "transformers", "pandas", "dvc", "kfp"],
    ),
    "package": (
        ["components.package_model.step", "model.export"],
        ["great_expectations", "transformers", "pandas", "sklearn", "dvc", "kfp"],
    ),
    "serve": (
        ["serving.service", "serving.serve", "serving.client"],
        ["torch", "kfp", "pandas", "great_expectations", "sklearn", "transformers", "dvc", "matplotlib", "scipy"],
    ),
    "command line": (
        ["pipelines.cli"],
        ["torch", "kfp", "pandas", "great_expectations", "bentoml", "onnxruntime", "scipy", "matplotlib", "pyarrow"],
    ),
}


@pytest.mark.parametrize("image", IMAGES)
def test_each_image_runs_without_the_packages_of_the_others(image: str) -> None:
    modules, blocked = IMAGES[image]
    code = BLOCKED.format(modules=modules, blocked=set(blocked))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1500:]


FORBIDDEN = {
    r"torch\.load\(": "only safetensors pass between steps",
    r"\bpickle\b": "no pickles",
    r"trust_remote_code": "no code from weights",
    r"yaml\.(load|full_load|unsafe_load)\(": "safe_load",
    r"shell\s*=\s*True": "lists of arguments",
    r"(?<![\w.])(eval|exec)\(": "no evaluated text",
    r"os\.system\(|\bmktemp\(": "no shell, no guessable names",
    r":latest\b": "tags that do not move",
}


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_nothing_forbidden_is_written(pattern: str) -> None:
    files = [*sources(*ROOMS), ROOT / "Makefile", ROOT / "dvc.yaml", ROOT / "components/Dockerfile"]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(pattern, line) and not line.lstrip().startswith(("#", '"""'))
    ]
    assert not found, FORBIDDEN[pattern]


def test_packages_have_empty_init_files() -> None:
    assert [path for path in sources(*ROOMS) if path.name == "__init__.py" and path.stat().st_size] == []


def test_no_unpinned_requirement_and_no_address_in_the_pins() -> None:
    lines = (ROOT / "requirements" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 100
    assert all(re.match(r"[A-Za-z0-9._-]+==\S+", line) for line in lines if not line.startswith("#"))
    assert not any("://" in line for line in lines)


HOSTILE = "raise SystemExit('the hostile model.py was imported')"


def test_a_hostile_module_in_the_working_directory_is_not_imported(tmp_path: Path) -> None:
    for name in ("model.py", "components.py", "yaml.py", "numpy.py"):
        (tmp_path / name).write_text(HOSTILE)
    command = [str(Path(sys.executable).parent / "isoformer"), "params", "show", "--params", str(ROOT / "params.yaml")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "hostile" not in done.stdout + done.stderr
