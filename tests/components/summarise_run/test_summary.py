"""A run's summary says what came of every step and why the run failed, whatever became of the steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.children import OWNER_VARIABLE
from components.run_notes import RUN_VARIABLE, attempts_of, folder_of, note
from components.summarise_run.step import as_html, as_markdown, summarise


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(RUN_VARIABLE, "run-7")
    return tmp_path


def test_a_retried_step_shows_each_attempt(root: Path) -> None:
    note(root, "train_model", "begun")
    note(root, "train_model", "stopped", reason="SIGTERM at step 40")
    note(root, "train_model", "begun")
    note(root, "train_model", "done", facts={"payload": "0123456789ab"})
    told = summarise(run="run-7", state="SUCCEEDED", error="", work_root=root)
    assert [(item.state, item.reason) for item in told.attempts] == [("stopped", "SIGTERM at step 40"), ("done", "")]
    assert told.cause == ""
    text = as_markdown(told)
    assert "| train_model | 1 | stopped |" in text
    assert "| train_model | 2 | done |" in text
    assert "payload 0123456789ab" in text


def test_the_cause_is_what_the_failed_step_said(root: Path) -> None:
    note(root, "validate_data", "begun")
    note(root, "validate_data", "done")
    note(root, "extract_sequences", "begun")
    note(root, "extract_sequences", "refused", reason="a.gtf:7: expected 9 columns, found 8 | <b>")
    told = summarise(run="run-7", state="FAILED", error="child execution failed", work_root=root)
    assert told.cause == "extract_sequences: refused: a.gtf:7: expected 9 columns, found 8 | <b>"
    # A bar in a reason is no border of a cell, a tag in it no tag.
    assert "8 \\| &lt;b>" in as_markdown(told)
    assert "<b>" not in as_html(told).replace("<b>2", "")


def test_a_killed_step_is_named_though_it_could_say_nothing(root: Path) -> None:
    note(root, "train_model", "begun")
    told = summarise(run="run-7", state="FAILED", error="", work_root=root)
    assert told.cause.startswith("train_model: began and was not heard of again")


def test_a_line_cut_by_a_crash_is_passed_over(root: Path) -> None:
    note(root, "train_model", "begun")
    folder = folder_of(root, "run-7")
    assert folder is not None
    with (folder / "train_model.jsonl").open("a") as file:
        file.write('{"step": "train_mo')
    assert [item.state for item in attempts_of(folder)] == ["begun"]


def test_without_notes_the_summary_says_why_and_keeps_kubeflows_message(tmp_path: Path) -> None:
    told = summarise(run="run-8", state="FAILED", error="pod was evicted", work_root=tmp_path)
    assert told.cause == "pod was evicted"
    assert "--work-claim" in as_markdown(told)
    assert "--work-claim" in as_html(told)


@pytest.mark.parametrize("name", ["", "../../etc", "a/b", ".hidden", "x" * 200])
def test_a_run_name_never_leads_out_of_the_work_folder(tmp_path: Path, name: str) -> None:
    assert folder_of(tmp_path, name) is None


def test_notes_never_fail_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv(RUN_VARIABLE, "run-7")
    (tmp_path / "runs").write_text("in the way")
    note(tmp_path, "train_model", "begun")
    assert "summary will lack" in capsys.readouterr().err


STEP = """
import signal, sys, time
from components.children import end_with_owner
signal.signal(signal.SIGTERM, lambda *_: (open(sys.argv[1], "w").close(), sys.exit(75)))
end_with_owner()
print("up", flush=True)
time.sleep(60)
"""


def test_a_step_ends_in_order_when_the_run_that_owns_it_is_killed(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    environment = {**os.environ, OWNER_VARIABLE: str(owner.pid)}
    command = [sys.executable, "-c", STEP, str(tmp_path / "saved")]
    step = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
    try:
        assert step.stdout is not None
        assert step.stdout.readline() == "up\n"
        time.sleep(0.2)
        assert step.poll() is None
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        assert step.wait(10) == 75
        assert (tmp_path / "saved").exists()
    finally:
        owner.kill()
        step.kill()
