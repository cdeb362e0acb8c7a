"""Only a blessed model is packaged; only a package that answers rightly over HTTP is written and registered."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging_inputs import Packaged, package_params, packaged, write_inputs

from components.artifacts import AlreadyComplete, open_artifact
from components.package_model.bento import REQUIREMENTS, pinned_requirements, stage_code
from components.package_model.golden import golden_items
from components.package_model.promotion import reason_to_promote
from components.package_model.step import run
from components.registry import Registry
from components.sections import PackageParams
from model.errors import InputError
from model.quantize import onnx_bytes

BLOCKED = ("torch", "kfp", "pandas", "great_expectations", "onnx", "pyarrow", "safetensors", "sklearn", "scipy")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    return packaged(tmp_path_factory.getbasetemp())


def refused(folder: Path, inputs: dict[str, Path], *overrides: str) -> str:
    """The message of the refusal, after checking that it left nothing behind."""
    with pytest.raises((InputError, RuntimeError)) as caught:
        run(inputs, package_params(folder / "registry", *overrides), folder / "out", folder / "work")
    assert not (folder / "out").exists()
    assert not (folder / "registry").exists()
    return str(caught.value)


def test_a_model_that_is_not_blessed_is_refused_with_the_reasons(tmp_path: Path) -> None:
    message = refused(tmp_path, write_inputs(tmp_path, blessed=False))
    assert "below the floor of 0.1" in message


def test_the_verdict_on_another_model_blesses_nothing(tmp_path: Path) -> None:
    mine, other = write_inputs(tmp_path, seed=0), write_inputs(tmp_path, seed=1)
    assert "another model" in refused(tmp_path, {**mine, "evaluation": other["evaluation"]})


def test_a_damaged_model_is_refused_by_name(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path)
    weights = inputs["model"] / "payload" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "model.safetensors" in refused(tmp_path, inputs)


def test_golden_items_ask_every_subset_of_the_modalities(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path)
    items = golden_items(inputs["transcripts"] / "payload", ("dna", "rna", "protein"), 4)
    subsets = {tuple(sorted(item)) for item in items}
    assert len(subsets) == 7
    assert any("u" in item.get("rna", "") for item in items)
    lengths = [len(item["rna"]) for item in items[:4]]
    assert lengths == sorted(lengths)
    assert lengths[0] == 60
    assert lengths[-1] == 60 + 90 * 11


def test_requirements_are_pinned_and_hold_nothing_of_training() -> None:
    pins = pinned_requirements(REQUIREMENTS)
    assert all("==" in pin for pin in pins)
    names = {pin.partition("==")[0] for pin in pins}
    assert set(REQUIREMENTS) <= names
    assert not names & {"torch", "kfp", "pandas", "great-expectations", "transformers"}


def test_the_serving_code_imports_without_the_packages_of_other_images(tmp_path: Path) -> None:
    """What goes into the Bento imports in a process where training, data and pipeline packages cannot be found."""
    stage_code(tmp_path)
    program = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Blocked())
sys.path.insert(0, {str(tmp_path)!r})
import serving.service, serving.client, model, components
assert all(module.__path__[0].startswith({str(tmp_path)!r}) for module in (serving, model, components))
assert not [name for name in sys.modules if name.partition(".")[0] in {BLOCKED!r}]
"""
    environment = {**os.environ, "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-P", "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_network_imports_where_its_code_is_packaged_too(tmp_path: Path) -> None:
    stage_code(tmp_path, torch=True)
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import model.torch_backend, model.weights
assert model.__path__[0].startswith({str(tmp_path)!r})
assert not [name for name in ("kfp", "pandas", "transformers", "onnx") if name in sys.modules]
"""
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pins = (tmp_path / "requirements.txt").read_text()
    assert "\ntorch==2." in pins
    assert "+" not in pins


@pytest.mark.slow
def test_pytorch_weights_go_along_where_asked_for(package: Packaged, tmp_path: Path) -> None:
    params = package_params(tmp_path / "registry", "package.torch=true")
    run(package.inputs, params, tmp_path / "out", tmp_path / "work")
    inside = tmp_path / "out" / "payload" / "bento" / "src" / "package"
    weights = package.inputs["model"] / "payload" / "model.safetensors"
    assert (inside / "model.safetensors").read_bytes() == weights.read_bytes()
    assert not list(package.source.glob("package/*.safetensors"))


def test_equal_code_gives_an_equal_digest(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert stage_code(first) == stage_code(second)


GAIN = {"value": 0.1, "low": 0.05, "high": 0.15}


@pytest.mark.parametrize(
    ("champion", "compared_with", "reason"),
    [
        (None, None, "the first version"),
        ("old", {"model_digest": "old", "better": True, "r2_gained": GAIN}, "R² +0.1000 over champion v-old"),
        ("old", {"model_digest": "old", "better": False, "r2_gained": GAIN}, None),  # interval not above 0
        ("old", {"model_digest": "older", "better": True, "r2_gained": GAIN}, None),  # another was champion then
        ("old", None, None),  # there was no champion then
        ("challenger", None, "the champion's own model, packaged anew"),
    ],
)
def test_only_a_model_that_was_found_better_than_this_champion_is_promoted(
    champion: str | None, compared_with: dict | None, reason: str | None
) -> None:
    standing = champion and {"model_digest": champion, "version": f"v-{champion}", "metrics": {"r2": 0.1}}
    challenger = {"model_digest": "challenger", "metrics": {"r2": 0.9}, "compared_with": compared_with}
    found = reason_to_promote(challenger, standing or None, PackageParams())
    assert found == reason or (reason is not None and found is not None and found.startswith(reason))


def test_a_packaged_model_is_registered_and_the_first_is_champion(package: Packaged) -> None:
    artifact = open_artifact(package.out, "bento")
    described = json.loads((artifact.payload / "bento.json").read_text())
    champion = Registry(package.registry).champion()
    assert champion is not None
    assert champion["version"] == described["version"]
    record = Registry(package.registry).show(champion["version"])
    assert record["payload_digest"] == artifact.digest
    assert record["model_digest"] == open_artifact(package.inputs["model"], "model").digest
    facts = json.loads((package.out / "run.json").read_text())
    assert facts["largest_http_difference"] <= 1e-4
    assert facts["parity"]["max_abs_difference_log1p_tpm"] <= 1e-4


def test_a_payload_holds_no_trace_of_where_and_when_it_was_made(package: Packaged) -> None:
    places = (str(package.out.parent).encode(), str(Path(__file__).parents[3]).encode())
    for file in (package.out / "payload").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not any(place in content for place in places), file
    assert "creation_time: 1970-" in (package.out / "payload" / "bento" / "bento.yaml").read_text()


def test_a_rerun_does_nothing_but_complete_a_missing_registration(package: Packaged, tmp_path: Path) -> None:
    with pytest.raises(AlreadyComplete):
        run(package.inputs, package_params(tmp_path / "registry"), package.out, tmp_path / "work")
    assert len(Registry(tmp_path / "registry").list()) == 1
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_packaging_twice_gives_equal_payloads(package: Packaged, tmp_path: Path) -> None:
    run(package.inputs, package_params(tmp_path / "registry"), tmp_path / "again", tmp_path / "work")
    assert open_artifact(tmp_path / "again", "bento").digest == open_artifact(package.out, "bento").digest


@pytest.mark.slow
def test_a_package_that_answers_otherwise_than_the_model_is_neither_written_nor_registered(tmp_path: Path) -> None:
    message = refused(tmp_path, write_inputs(tmp_path), "package.tolerance=1e-12")
    assert "differ from PyTorch" in message


@pytest.mark.slow
def test_a_bento_that_does_not_become_ready_is_told_with_its_reason(package: Packaged, tmp_path: Path) -> None:
    from components.package_model.boot import booted

    bento = tmp_path / "bento"
    shutil.copytree(package.out / "payload" / "bento", bento)
    model = bento / "src" / "package" / "model.onnx"
    damaged = bytearray(model.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    model.write_bytes(damaged)
    (tmp_path / "home").mkdir()
    with (
        pytest.raises(RuntimeError, match=r"package/model\.onnx.*other bytes"),
        booted(bento, tmp_path / "home", tmp_path / "log"),
    ):
        pass


@pytest.mark.slow
def test_int8_weights_are_served_where_they_stay_close_enough(package: Packaged, tmp_path: Path) -> None:
    """The Bento holds the smaller graph, booted and asked like any other, and says what int8 changed."""
    params = package_params(tmp_path / "registry", "package.max_int8_difference=0.5")
    run(package.inputs, params, tmp_path / "out", tmp_path / "work")
    payload = open_artifact(tmp_path / "out", "bento").payload
    described = json.loads((payload / "bento.json").read_text())
    sizes = described["int8"]["bytes"]
    assert onnx_bytes(payload / described["onnx"]) == sizes["int8"] < sizes["float32"]
    assert 0 < described["int8"]["max_abs_difference_log1p_tpm"] <= 0.5
    inside = payload / "bento" / "src" / "package"
    about = json.loads((inside / "about.json").read_text())
    assert about["weights"] == "int8"
    assert about["int8"] == described["int8"]
    assert json.loads((inside / "golden.json").read_text())["tolerance"] == pytest.approx(0.5001)
    plain = json.loads((package.out / "payload" / "bento.json").read_text())
    assert plain["int8"] is None
    assert plain["version"] != described["version"]


@pytest.mark.slow
def test_int8_weights_that_change_too_much_are_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, write_inputs(tmp_path), "package.max_int8_difference=1e-9")
    assert "package.max_int8_difference" in message
    assert "float32" in message
