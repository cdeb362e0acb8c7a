"""The command line is quick, lazy, follows the stage table, and tells what it did."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components.params import Params, load_params
from components.registry import Registry
from pipelines.stages import STAGES, Stage

ROOT = Path(__file__).parents[2]
ISOFORMER = str(Path(sys.executable).parent / "isoformer")


def call(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ISOFORMER, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)


def test_help_costs_at_most_0_3_seconds_of_a_core() -> None:
    """CPU time of the cheapest of several runs: what the command costs, not what else the machine does."""
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert call("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) <= 0.3


def test_help_names_every_step_of_the_table() -> None:
    text = call("--help").stdout
    for item in STAGES:
        assert f"  {item.command} " in text


@pytest.mark.parametrize("stage", STAGES, ids=lambda item: item.name)
def test_a_step_has_one_option_per_input(stage: Stage) -> None:
    text = call(stage.command, "--help").stdout
    for name in (*stage.inputs, *stage.optional, "out", "work", "params", "preset", "set"):
        assert f"--{name.replace('_', '-')} " in text


def test_an_unknown_command_names_the_nearest() -> None:
    done = call("train-modle")
    assert done.returncode == 2
    assert "Did you mean 'train-model'" in done.stderr


def test_params_show_prints_what_the_steps_will_read() -> None:
    shown = call("params", "show", "--preset", "sanity", "--set", "train.seed=7").stdout
    expected = load_params(ROOT / "params.yaml", preset="sanity", overrides=["train.seed=7"])
    assert Params.model_validate(yaml.safe_load(shown)) == expected


def test_every_section_that_dvc_follows_is_in_params_yaml() -> None:
    """DVC refuses to run a stage whose parameters the file does not hold."""
    written = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert {name for item in STAGES for name in item.sections} <= written.keys()


def test_the_embedded_dvc_settings_need_no_server_and_tell_nobody() -> None:
    text = (ROOT / ".dvc" / "config").read_text(encoding="utf-8")
    assert "analytics = false" in text
    assert "check_update = false" in text
    # A link in place of a file would be refused by the artifacts' own check.
    assert "symlink" not in text


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A registry with two versions, the first of them champion."""
    opened = Registry(tmp_path / "registry")
    payload = tmp_path / "payload"
    payload.mkdir()
    (payload / "bento.json").write_text("{}")
    for digit, r2 in (("a", 0.5), ("b", 0.6)):
        record = {
            "model_digest": digit * 64,
            "package_digest": "c" * 64,
            "payload_digest": "d" * 64,
            "metrics": {"r2": r2},
            "simulated": True,
        }
        opened.register(record, payload)
    opened.promote("a")
    return tmp_path / "registry"


def test_the_registry_is_listed_shown_promoted_and_rolled_back(registry: Path) -> None:
    place = ("--registry", registry)
    champion, other = sorted(
        call("registry", "list", *place).stdout.splitlines(), reverse=False, key=lambda line: line[2:]
    )
    assert champion.startswith("* aaaa")
    assert "R² 0.500" in champion
    assert other.startswith("  bbbb")
    assert "SIMULATED" in other
    assert json.loads(call("registry", "show", "bbbb", *place).stdout)["metrics"] == {"r2": 0.6}
    assert "bbbb" in call("registry", "promote", "bbbb", *place, "--reason", "trial").stdout
    assert "aaaa" in call("registry", "rollback", *place).stdout
    done = call("registry", "show", "cccc", *place)
    assert done.returncode == 2
    assert "expected the name of one version" in done.stderr


def test_serving_an_empty_registry_says_what_to_do(tmp_path: Path) -> None:
    done = call("serve", "--registry", tmp_path / "registry")
    assert done.returncode == 2
    assert "registry promote" in done.stderr


def test_compile_writes_a_package_with_the_resolved_parameters(tmp_path: Path) -> None:
    out = tmp_path / "package.yaml"
    done = call("pipeline", "compile", "--preset", "sanity", "--tag", "1.2.3", "--out", out)
    assert done.returncode == 0, done.stderr
    spec = next(yaml.safe_load_all(out.read_text(encoding="utf-8")))
    default = spec["root"]["inputDefinitions"]["parameters"]["params"]["defaultValue"]
    assert Params.from_json(default) == load_params(ROOT / "params.yaml", preset="sanity")
    assert call("pipeline", "compile", "--out", tmp_path / "package.txt").returncode == 2
