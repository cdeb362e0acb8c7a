"""Checkpoints: whole or not at all, damaged ones out of the way, and nothing of a timeline that was given up."""

from __future__ import annotations

import errno
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from components.params import Params
from components.train_model.checkpoint import CheckpointWriter, Progress, take_up
from components.train_model.disk import no_room
from model.errors import InputError
from tests.components.train_model.workers import changed, finish


def write(folder: Path, step: int, *, kept: int = 2, best: int | None = None, size: int = 3) -> None:
    """A checkpoint of a step, which knows of a best model of step `best`."""
    history = [] if best is None else [{"epoch": 0, "step": best}]
    progress = Progress(step=step, history=history, best_metric=0.5, best_epoch=-1 if best is None else 0)
    writer = CheckpointWriter(background=True)
    writer.save(folder, progress, {}, {"model": {"a": torch.zeros(size)}}, kept=kept)
    writer.flush()


def damage(folder: Path, *steps: int) -> None:
    for step in steps:
        (folder / f"step-{step:08d}" / "model.safetensors").write_bytes(b"x" * 20)


def steps(folder: Path, pattern: str = "step-*") -> list[int]:
    return sorted(int(path.name.rpartition("-")[2]) for path in folder.glob(pattern))


def taken_up(work: Path) -> Progress:
    newest = take_up(work)
    assert newest is not None
    return newest.progress


def test_damaged_newest_checkpoints_do_not_count_among_those_to_keep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "checkpoints"
    for step in (480, 490, 500):
        write(folder, step, kept=3)
    damage(folder, 490, 500)
    assert taken_up(tmp_path).step == 480
    said = capsys.readouterr().err
    assert (
        "checkpoint step-00000500 is damaged (model.safetensors does not have the bytes that were written), now "
        in said
    )
    assert steps(folder) == [480]
    assert steps(folder, "damaged-step-*") == [490, 500]
    for step in (485, 490, 495):
        write(folder, step)
        assert step in steps(folder)
    assert steps(folder) == [490, 495]
    assert taken_up(tmp_path).step == 495


def test_an_error_of_the_system_that_may_pass_damages_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("checkpoints", "best"):
        write(tmp_path / name, 5, best=5)

    def fails(_: Path) -> str:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("components.train_model.checkpoint.sha256_file", fails)
        with pytest.raises(OSError, match="Input/output error"):
            take_up(tmp_path)
    assert taken_up(tmp_path).best_step == 5
    assert steps(tmp_path / "best") == [5]


@pytest.mark.parametrize("kept", [1, 2])
def test_where_all_checkpoints_are_damaged_training_starts_anew_and_says_so(
    tmp_path: Path, kept: int, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "checkpoints"
    for step in (490, 500)[-kept:]:
        write(folder, step, kept=kept)
        damage(folder, step)
    write(tmp_path / "best", 400)
    assert take_up(tmp_path) is None
    assert "are damaged: training starts anew, from step 0" in capsys.readouterr().err
    assert steps(tmp_path / "best") == []
    for step in (5, 10, 15):
        write(folder, step, kept=kept)
    assert steps(folder) == [5, 10, 15][-kept:]
    assert taken_up(tmp_path).step == 15


def test_a_start_without_checkpoints_says_nothing_of_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert take_up(tmp_path) is None
    assert capsys.readouterr().err == ""


def test_best_models_of_a_timeline_that_was_given_up_are_removed(tmp_path: Path) -> None:
    write(tmp_path / "checkpoints", 90, best=80)
    write(tmp_path / "checkpoints", 100, best=100)
    write(tmp_path / "best", 80)
    write(tmp_path / "best", 100)
    damage(tmp_path / "checkpoints", 100)
    progress = taken_up(tmp_path)
    assert (progress.step, progress.best_metric) == (90, 0.5)
    assert steps(tmp_path / "best") == [80]


@pytest.mark.parametrize("lost", ["absent", "damaged"])
def test_where_the_best_model_is_lost_the_next_epoch_takes_its_place(tmp_path: Path, lost: str) -> None:
    write(tmp_path / "checkpoints", 90, best=80)
    if lost == "damaged":
        write(tmp_path / "best", 80)
        damage(tmp_path / "best", 80)
    assert taken_up(tmp_path).best_metric is None
    assert steps(tmp_path / "best") == []


def test_what_a_kill_left_of_a_checkpoint_is_removed_and_what_it_was_to_replace_put_back(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    write(folder, 5)
    (folder / ".step-00000010.partial").mkdir()
    (folder / ".step-00000010.partial" / "model.safetensors").write_bytes(b"half")
    # Killed between the two renames that replace a checkpoint.
    (folder / "step-00000005").rename(folder / ".step-00000005.replaced")
    assert taken_up(tmp_path).step == 5
    assert [path.name for path in folder.iterdir()] == ["step-00000005"]
    # Killed before the old one was removed.
    shutil.copytree(folder / "step-00000005", folder / ".step-00000005.replaced")
    assert taken_up(tmp_path).step == 5
    assert [path.name for path in folder.iterdir()] == ["step-00000005"]


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Files of more than 64 kB cannot be written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing_half_written(tmp_path: Path, small_disk: None) -> None:
    write(tmp_path, 5)
    with pytest.raises(
        InputError, match=r"expected 800,000 bytes for a checkpoint of step 10, found [\d,]+ bytes free"
    ):
        write(tmp_path, 10, size=200_000)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000005"]
    full = no_room(tmp_path / "not" / "made", "room", OSError(errno.ENOSPC, "No space left on device"))
    assert "bytes free ([Errno 28] No space left on device)" in str(full)


@pytest.mark.slow
def test_after_falling_back_over_two_damaged_checkpoints_training_ends_like_an_unbroken_one(
    tmp_path: Path, sanity_params: Params, transcripts: Path
) -> None:
    recipe = {"checkpoint_every_steps": 5, "max_steps": 36}
    params = changed(sanity_params, train=recipe, runtime={"keep_checkpoints": 4})
    finish(tmp_path / "unbroken", transcripts, params)
    folder = tmp_path / "damaged"
    shutil.copytree(tmp_path / "unbroken", folder)
    shutil.rmtree(folder / "result")
    newest = steps(folder / "checkpoints")
    damage(folder / "checkpoints", *newest[-2:])
    # Another rounding, as of a GPU, could have found its best model in an epoch that is now done again.
    write(folder / "best", newest[-1] + 1, kept=9)
    assert f"resuming at optimizer step {newest[-3]}," in finish(folder, transcripts, params)
    expected, found = (path / "result" / "model.safetensors" for path in (tmp_path / "unbroken", folder))
    assert found.read_bytes() == expected.read_bytes()
    assert steps(folder / "checkpoints") == newest
