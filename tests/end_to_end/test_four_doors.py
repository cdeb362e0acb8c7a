"""One step, one result: the command line, DVC and Kubeflow's local runner make the same payloads.

The fourth door, the compiled package, is held by tests/pipelines/test_compiled_package.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.artifacts import MANIFEST, digest_of
from components.params import Params, load_params
from pipelines.local_run import run_locally
from pipelines.stages import STAGES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
# A network of 20 steps is no good model; the gates are opened so that packaging is reached.
OPEN_GATES = (
    "evaluate.gates.min_test_genes=1",
    "evaluate.gates.min_r2=-1000",
    "evaluate.gates.min_spearman=-1",
    "evaluate.gates.better_than=[]",
    "evaluate.gates.within_gene_above_chance=false",
    "evaluate.gates.tissue_identity=false",
    "runtime.threads=1",
)
STEPS = [item for item in STAGES if item.name != "fabricate"]
# Links into the environment's own tools, and no state of the machine's.
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}


def call(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does; its output is shown where it fails."""
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(ROOT / "params.yaml", preset="sanity", overrides=OPEN_GATES)


@pytest.fixture(scope="module")
def by_command_line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every step was called by name."""
    place = tmp_path_factory.mktemp("cli")
    for item in STAGES:
        call("isoformer", item.command, *_settings(), cwd=place)
    return place


@pytest.fixture(scope="module")
def by_dvc(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Path:
    """A folder in which `dvc repro` ran, without git."""
    place = tmp_path_factory.mktemp("dvc")
    for name in ("components", "model", "serving"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copyfile(ROOT / name, place / name)
    # Every knob as it resolves: DVC follows the file, and takes no overrides.
    shown = call("isoformer", "params", "show", *_settings(), cwd=place).stdout
    (place / "params.yaml").write_text(shown, encoding="utf-8")
    call("dvc", "init", "--no-scm", "--quiet", cwd=place)
    call("dvc", "repro", cwd=place)
    return place


def _settings() -> list[str]:
    file = ["--params", str(ROOT / "params.yaml"), "--preset", "sanity"]
    return [*file, *(part for item in OPEN_GATES for part in ("--set", item))]


def digests(folders: dict[str, Path]) -> dict[str, str]:
    """Payload digests by step; of the Bento, those of the model and the code in it."""
    found = {name: digest_of(folder) for name, folder in folders.items() if name != "package_model"}
    bento = json.loads((folders["package_model"] / "payload" / "bento.json").read_text(encoding="utf-8"))
    return {**found, "package_model": f"{bento['model_digest']} {bento['code_digest']}"}


def test_three_doors_make_the_same_payloads(
    by_command_line: Path, by_dvc: Path, params: Params, tmp_path: Path
) -> None:
    run = run_locally(
        params,
        data=by_command_line / "data" / "simulated",
        out=tmp_path / "kfp",
        work=tmp_path / "work",
        registry=str(tmp_path / "registry"),
    )
    expected = digests({item.name: by_command_line / item.place for item in STEPS})
    assert digests({item.name: by_dvc / item.place for item in STEPS}) == expected
    assert digests({item.name: run.artifacts[item.output] for item in STEPS}) == expected
    assert digest_of(by_dvc / "data/simulated") == digest_of(by_command_line / "data/simulated")


def test_no_payload_holds_the_place_where_it_was_made(by_command_line: Path) -> None:
    for item in STEPS:
        artifact = by_command_line / item.place
        for file in (artifact / MANIFEST, *(artifact / "payload").rglob("*")):
            if file.is_file():
                assert str(by_command_line).encode() not in file.read_bytes(), file


def test_a_second_repro_does_nothing(by_dvc: Path) -> None:
    before = {item.name: (by_dvc / item.place).stat().st_mtime_ns for item in STAGES}
    assert "up to date" in call("dvc", "repro", cwd=by_dvc).stdout
    assert {item.name: (by_dvc / item.place).stat().st_mtime_ns for item in STAGES} == before
