"""The same work finds what an earlier try left; two processes at the same work never share a folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from components.harness import GRACE_S
from components.work_folders import ORPHANS_S, release, work_folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("source")
    return path


def test_work_folders_differ_by_input_and_configuration(tmp_path: Path, source: Path) -> None:
    first = work_folder(tmp_path, "train", {"source": source}, {"seed": 1})
    assert work_folder(tmp_path, "train", {"source": source}, {"seed": 1}) == first
    assert work_folder(tmp_path, "train", {"source": source}, {"seed": 2}) != first
    source.write_text("other")
    assert work_folder(tmp_path, "train", {"source": source}, {"seed": 1}) != first


def test_a_folder_is_waited_for_as_long_as_a_killed_training_may_take_to_end() -> None:
    """Else the next try begins from nothing in a folder of its own, beside it."""
    assert ORPHANS_S > GRACE_S


HOLDER = """
import sys
from pathlib import Path
from components.work_folders import work_folder
print(work_folder(Path(sys.argv[1]), "train", {}, {"seed": 1}, exclusive=True), flush=True)
sys.stdin.read()
"""


def test_two_processes_that_do_the_same_work_at_once_get_a_folder_each(tmp_path: Path) -> None:
    """And one that died lets go of its own: the next try goes on with what it left."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    first, second = (subprocess.Popen(command, text=True, **pipes) for _ in range(2))
    with first, second:
        assert first.stdout is not None
        assert second.stdout is not None
        folders = [Path(process.stdout.readline().strip()) for process in (first, second)]  # type: ignore[union-attr]
        assert len(set(folders)) == 2
        for folder in folders:
            (folder / "checkpoint").touch()
        third = work_folder(tmp_path, "train", {}, {"seed": 1}, exclusive=True)
        assert third not in folders
        assert work_folder(tmp_path, "train", {}, {"seed": 1}, exclusive=True) == third
        second.kill()
        second.wait()
        first.kill()
        first.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=True, input="")
    assert Path(done.stdout.strip()) in folders
    # A folder that its owner let go of is made anew.
    release(third)
    assert not third.exists()
    assert sorted(path.name for path in third.parent.glob(".*")) == []
    assert (work_folder(tmp_path, "train", {}, {"seed": 1}, exclusive=True) / ".lock").exists()


ORPHAN = """
import subprocess, sys
from pathlib import Path
from components.work_folders import lock_of, work_folder
folder = work_folder(Path(sys.argv[1]), "train", {}, {"seed": 1}, exclusive=True)
child = "import time; time.sleep(3); open(__import__('sys').argv[1], 'w').write('saved')"
subprocess.Popen([sys.executable, "-c", child, str(folder / "checkpoint")], pass_fds=[lock_of(folder)])
print(folder, flush=True)
sys.stdin.read()
"""


def test_a_new_try_waits_for_the_children_of_a_killed_one_and_goes_on_from_what_they_saved(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ORPHAN, str(tmp_path)]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        process.kill()
        process.wait()
        assert work_folder(tmp_path, "train", {}, {"seed": 1}, exclusive=True) == folder
        assert (folder / "checkpoint").read_text() == "saved"
