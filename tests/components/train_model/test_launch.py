"""What starts the training processes: how it passes a stop on, what it grants them, whom it waits for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from components.harness import GRACE_S, StepStoppedError
from components.train_model import launch as launching
from components.train_model.orphans import LAUNCHER, await_ranks, hold, orphaned
from components.train_model.spec import STOPPED
from components.train_sections import RuntimeParams
from model.errors import InputError


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The code that is started in place of a worker, as the only item of a list."""
    code: list[str] = []
    monkeypatch.setattr(launching, "launch_command", lambda *_: [sys.executable, "-c", code[0]])
    return code


def launch(folder: Path) -> None:
    launching.launch(folder / "spec-0.json", folder, RuntimeParams())


def signals(*numbers: int, after: Path) -> None:
    """Send signals to this process as soon as a file is there, half a second between two."""

    def send() -> None:
        while not after.exists():
            time.sleep(0.05)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.5)

    threading.Thread(target=send, daemon=True).start()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_before_the_worker_listens_is_a_stop_and_no_failure(
    tmp_path: Path, worker: list[str], stop: signal.Signals
) -> None:
    worker.append(f"import pathlib, time; pathlib.Path({str(tmp_path / 'here')!r}).touch(); time.sleep(60)")
    signals(stop, after=tmp_path / "here")
    with pytest.raises(StepStoppedError, match="The same command goes on from there"):
        launch(tmp_path)


def test_a_training_that_went_on_after_a_stop_of_its_ranks_and_ended_is_no_stop(
    tmp_path: Path, worker: list[str]
) -> None:
    """As torchrun starts ranks again that somebody stopped one by one."""
    worker.append(f"import pathlib; pathlib.Path({str(tmp_path / STOPPED)!r}).touch()")
    launch(tmp_path)


STUBBORN = """
import pathlib, signal, sys, time
count = []
signal.signal(signal.SIGTERM, lambda *_: count.append(1))
signal.signal(signal.SIGINT, lambda *_: sys.exit("Ctrl-C reached the worker"))
pathlib.Path({here!r}).touch()
time.sleep({seconds})
sys.exit(0 if len(count) == 1 else 1)
"""


def test_however_often_a_stop_is_asked_for_torchrun_is_told_once(tmp_path: Path, worker: list[str]) -> None:
    """A second signal would end it before its ranks have saved their state."""
    worker.append(STUBBORN.format(here=str(tmp_path / "here"), seconds=3))
    signals(signal.SIGTERM, signal.SIGTERM, signal.SIGINT, after=tmp_path / "here")
    launch(tmp_path)


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path, worker: list[str]) -> None:
    worker.append(STUBBORN.format(here=str(tmp_path / "here"), seconds=120))
    signals(signal.SIGINT, signal.SIGINT, after=tmp_path / "here")
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        launch(tmp_path)
    assert time.monotonic() - started < 30


TIMEOUT = """
import pathlib
from torch.distributed.launcher.api import LaunchConfig
timeout = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=1).shutdown_timeout
pathlib.Path({path!r}).write_text(str(timeout))
"""


@pytest.mark.parametrize("given", [None, 900])
def test_torchrun_grants_its_ranks_the_time_that_their_surroundings_grant(
    tmp_path: Path, worker: list[str], monkeypatch: pytest.MonkeyPatch, given: int | None
) -> None:
    if given:
        monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(given))
    worker.append(TIMEOUT.format(path=str(tmp_path / "timeout")))
    launch(tmp_path)
    assert int((tmp_path / "timeout").read_text()) == (given or GRACE_S)


RANK = """
import sys, time
from pathlib import Path
from components.train_model.orphans import hold
hold(Path(sys.argv[1]))
print("holds", flush=True)
time.sleep(float(sys.argv[2]))
Path(sys.argv[1], "saved").touch()
"""


def rank(folder: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", RANK, str(folder), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_training_waits_for_ranks_that_a_killed_one_left_and_is_refused_where_they_do_not_end(
    tmp_path: Path, worker: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    worker.append(f"import sys, pathlib; sys.exit(not pathlib.Path({str(tmp_path / 'saved')!r}).exists())")
    with rank(tmp_path, 2):
        launch(tmp_path)
    assert "a killed training still ends" in capsys.readouterr().err
    with rank(tmp_path, 60) as process:
        with pytest.raises(InputError, match="expected no process that trains in it"):
            await_ranks(tmp_path, wait_s=0.5)
        process.kill()
    # Ranks of one training hold the folder together.
    with rank(tmp_path, 0):
        os.close(hold(tmp_path))


def test_a_rank_whose_launcher_or_torchrun_is_gone_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LAUNCHER, raising=False)
    assert not orphaned()
    ask = [sys.executable, "-c", "from components.train_model.orphans import orphaned; print(orphaned())"]
    between = [sys.executable, "-c", f"import subprocess; subprocess.run({ask!r})"]
    for command, launcher, expected in (
        (ask, os.getpid(), "False"),
        (between, os.getpid(), "False"),
        (between, 2**22 + 1, "True"),
    ):
        environment = {**os.environ, LAUNCHER: str(launcher)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


CHILD = """
import signal, subprocess, sys, time
code = '''
import signal, sys, time
from pathlib import Path
from components.train_model.orphans import end_with_parent
signal.signal(signal.SIGTERM, lambda *_: Path(sys.argv[1], "told").touch())
end_with_parent(grace_s=1)
Path(sys.argv[1], "began").touch()
while True:
    time.sleep(0.1)
'''
print(subprocess.Popen([sys.executable, "-c", code, sys.argv[1]], start_new_session=True).pid, flush=True)
time.sleep(60)
"""


def runs(process: Path) -> bool:
    """Whether a process of /proc has not ended; nobody may be there to reap it."""
    try:
        return "State:\tZ" not in (process / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_rank_whose_parent_is_killed_is_told_to_stop_and_killed_where_it_hangs(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = Path("/proc", process.stdout.readline().strip())
        while not (tmp_path / "began").exists():
            time.sleep(0.05)
        process.kill()
    deadline = time.monotonic() + 20
    while runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (tmp_path / "told").exists()
