"""An artifact is there whole or not at all, and says so when a byte of it changed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components.artifacts import AlreadyComplete, open_artifact, write_artifact, write_json
from model.errors import InputError


def make(out: Path, source: Path, *, seed: int = 1) -> None:
    with write_artifact(out, kind="numbers", inputs={"source": source}, config={"seed": seed}) as writer:
        (writer.payload / "sub").mkdir()
        (writer.payload / "a.json").write_text(f'{{"seed": {seed}}}')
        (writer.payload / "sub" / "b.bin").write_bytes(b"\x00\x01" * 100)
        writer.run["note"] = "outside the digest"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("input")
    return path


@pytest.fixture
def artifact(tmp_path: Path, source: Path) -> Path:
    make(tmp_path / "out", source)
    return tmp_path / "out"


def test_equal_runs_at_other_places_and_times_have_equal_digests(tmp_path: Path, artifact: Path, source: Path) -> None:
    time.sleep(0.01)
    make(tmp_path / "elsewhere" / "out", source)
    first, second = (open_artifact(path, "numbers") for path in (artifact, tmp_path / "elsewhere" / "out"))
    assert first.manifest == second.manifest
    assert str(tmp_path) not in json.dumps(first.manifest)


def fail_half_way(out: Path) -> None:
    with write_artifact(out, kind="numbers", inputs={}, config={}) as writer:
        (writer.payload / "half").write_text("half")
        raise RuntimeError


def test_an_error_inside_leaves_nothing(tmp_path: Path, source: Path) -> None:
    with pytest.raises(RuntimeError):
        fail_half_way(tmp_path / "out")
    assert list(tmp_path.iterdir()) == [source]


def test_the_same_work_again_is_already_complete_and_other_work_is_refused(artifact: Path, source: Path) -> None:
    with pytest.raises(AlreadyComplete):
        make(artifact, source)
    with pytest.raises(InputError, match="the artifact of another run"):
        make(artifact, source, seed=2)


def test_a_folder_with_other_files_is_refused_and_untouched(tmp_path: Path, source: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="a folder with other files"):
        make(tmp_path / "out", source)
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"


def flip_a_byte(out: Path) -> None:
    data = bytearray((out / "payload/sub/b.bin").read_bytes())
    data[7] ^= 1
    (out / "payload/sub/b.bin").write_bytes(data)


def link_outside(out: Path) -> None:
    (out / "payload/a.json").rename(out / "a.json")
    (out / "payload/a.json").symlink_to(out / "a.json")


def edit_manifest(out: Path) -> None:
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["payload_digest"] = "0" * 64
    write_json(out / "manifest.json", manifest)


def traverse(out: Path) -> None:
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["files"][0]["path"] = "../../source.txt"
    write_json(out / "manifest.json", manifest)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_byte, "b.bin: .*sha256 differs"),
        (lambda out: os.truncate(out / "payload/sub/b.bin", 10), "b.bin: .*10 bytes instead of 200"),
        (lambda out: (out / "payload/a.json").unlink(), "a.json: .*no such file"),
        (lambda out: (out / "payload/extra").write_text("x"), "extra: .*does not list"),
        (link_outside, "a.json: .*a link"),
        (edit_manifest, "manifest.json: .*payload digest"),
        (traverse, r"a file that the manifest does not list|no such file"),
        (lambda out: (out / "manifest.json").write_text("{"), "manifest.json: .*unreadable JSON"),
        (lambda out: (out / "manifest.json").unlink(), "without manifest.json"),
    ],
)
def test_each_kind_of_damage_is_refused_by_name(artifact: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(artifact)
    with pytest.raises(InputError, match=message):
        open_artifact(artifact, "numbers")


def test_another_kind_is_refused(artifact: Path) -> None:
    with pytest.raises(InputError, match="expected a model artifact, found a numbers artifact"):
        open_artifact(artifact, "model")


KILLED = """
import sys, time
from pathlib import Path
from components.artifacts import write_artifact
with write_artifact(Path(sys.argv[1]), kind="numbers", inputs={}, config={}) as writer:
    (writer.payload / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_killed_writer_leaves_nothing_visible_and_the_next_one_clears_up(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(out)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    make(out, source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source.txt"]
