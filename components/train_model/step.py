"""The training step: starts the training processes, watches them, and makes the model artifact of what they leave."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.artifacts import Artifact, digest_of, open_artifact, write_artifact, write_json
from components.params import Params
from components.train_model.identity import differences
from components.train_model.launch import from_trainer, launch, node_rank
from components.train_model.plot import plot_history
from components.train_model.spec import Spec
from components.train_model.weight_files import weight_files
from components.work_folders import KEY_LENGTH, release, work_folder

KIND = "model"


def run(inputs: Mapping[str, Path], params: Params, out: Path, work: Path) -> None:
    """Train on `inputs["transcripts"]` and write the model artifact at `out`.

    Checkpoints live below `work`, keyed by data and configuration: a killed or stopped run goes on where it was.
    Raises `InputError` on bad data, `StepStoppedError` after SIGTERM, `RuntimeError` where a training process failed.
    """
    transcripts = open_artifact(inputs["transcripts"], "transcripts")
    inputs = {**inputs, **weight_files(params.data.weights)}
    config = params.config("extract", "model", "train")
    # Machines of one training share a folder; two trainings of one machine never do.
    exclusive = not from_trainer()
    if node_rank() != 0:
        # Of several machines one writes the artifact; the others only compute.
        folder = work_folder(work, "train_model", inputs, config)
        launch(_write_spec(transcripts, params, folder, inputs, work), folder, params.runtime)
        return
    with write_artifact(out, kind=KIND, inputs=inputs, config=config) as writer:
        folder = work_folder(work, "train_model", inputs, config, exclusive=exclusive)
        _mention_unfinished(folder, params)
        spec = _write_spec(transcripts, params, folder, inputs, work)
        if not (folder / "result").is_dir():
            launch(spec, folder, params.runtime)
        _collect(folder / "result", transcripts, config, writer.payload, writer.run)
    # The artifact holds what counts. Kept, the result would be taken for that of a later run with other code.
    release(folder)


def run_preflight(inputs: Mapping[str, Path], params: Params, work: Path) -> None:
    """Compute the largest batches that the data can produce, and train nothing; raises what training would."""
    transcripts = open_artifact(inputs["transcripts"], "transcripts")
    inputs = {**inputs, **weight_files(params.data.weights)}
    config = params.config("extract", "model", "train")
    folder = work_folder(work, "train_model_preflight", inputs, config, exclusive=True)
    try:
        launch(_write_spec(transcripts, params, folder, inputs, None), folder, params.runtime)
    finally:
        release(folder)


def _write_spec(
    transcripts: Artifact, params: Params, folder: Path, inputs: Mapping[str, Path], work: Path | None
) -> Path:
    """Write the workers' specification; without `work` it is that of a preflight."""
    # Of each machine its own: all write the same into a folder that they share.
    path = folder / f"spec-{node_rank()}.json"
    Spec(
        payload=transcripts.payload.resolve(),
        params=params,
        work=folder.resolve(),
        inputs={name: digest_of(item) for name, item in sorted(inputs.items())},
        logs=None if work is None else work.resolve() / "train_logs" / folder.name,
        preflight_only=work is None,
    ).write(path)
    return path


def _collect(
    result: Path, transcripts: Artifact, config: Mapping[str, Any], payload: Path, record: dict[str, Any]
) -> None:
    """Make the payload of what training left."""
    # Large models lie in several files; the card is there where the model grew from other weights.
    for path in (*result.glob("model*"), *result.glob("README.md"), result / "config.json", result / "history.json"):
        shutil.copy2(path, payload / path.name)
    shutil.copy2(transcripts.payload / "dataset.json", payload / "dataset.json")
    write_json(payload / "params.json", dict(config))
    history = json.loads((result / "history.json").read_text(encoding="utf-8"))
    plot_history(history, payload / "loss.png", metric=config["train"]["early_stopping_metric"])
    resharded = json.loads((result / "resharded.json").read_text(encoding="utf-8"))
    if resharded:
        # Rounding and dropout changed with the number of processes: the bytes are those of this history.
        write_json(payload / "resharded.json", resharded)
    record["throughput"] = json.loads((result / "throughput.json").read_text(encoding="utf-8"))


def _mention_unfinished(folder: Path, params: Params) -> None:
    """Say which unfinished trainings lie beside this one, and how their parameters differ: a slip shows early."""
    if (folder / "checkpoints").is_dir():
        return
    now = params.config("extract", "model", "train")
    for spec in sorted(folder.parent.glob("*/spec-0.json")):
        same_work = spec.parent.name[:KEY_LENGTH] == folder.name[:KEY_LENGTH]
        if not same_work and (spec.parent / "checkpoints").is_dir():
            print(
                f"note: an unfinished training lies in {spec.parent}; this is another one ({_changes(spec, now)})",
                file=sys.stderr,
            )


def _changes(spec: Path, now: Mapping[str, Any]) -> str:
    """How the parameters of another training differ from those of this one."""
    try:
        before = Spec.read(spec).params.config("extract", "model", "train")
    except (OSError, ValueError, KeyError, TypeError):
        # Written by an earlier version, whose knobs may have been others: of no concern to this training.
        return "its parameters are of another version of this program"
    return "; ".join(differences(before, now)) or "other input data or weights, or an earlier version"
