"""Each service's own client takes a training's parameters and numbers, and gives them back; it runs where installed.

They are the extra `trackers`; without a network: MLflow into files, W&B offline, DVCLive as it is.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.params import Params
from components.train_model.trackers import flat, open_trackers

# Values of a metric by optimizer step, and parameters as text.
Found = tuple[dict[int, float], dict[str, str]]


def of_mlflow(folder: Path, metric: str) -> Found:
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'isoformer'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    return {item.step: item.value for item in client.get_metric_history(run.info.run_id, metric)}, run.data.params


def of_wandb(folder: Path, metric: str) -> Found:
    """What lies in the file that `wandb sync` would send."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    values: dict[int, float] = {}
    params: dict[str, str] = {}
    for data in leveldb_records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in record.config.update:
            params[item.key] = str(json.loads(item.value_json))
        for item in record.history.item:
            if (item.key or "/".join(item.nested_key)) == metric:
                values[record.history.step.num] = json.loads(item.value_json)
    return values, params


def leveldb_records(log: bytes) -> Iterator[bytes]:
    """Records of a log as LevelDB writes it, after a head of 7 bytes: blocks of 32 KiB, pieces of (CRC, size, kind)."""
    full, first, middle, last = 1, 2, 3, 4
    at, record = 7, b""
    while at + 7 <= len(log):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        size, kind = struct.unpack("<HB", log[at + 4 : at + 7])
        piece, at = log[at + 7 : at + 7 + size], at + 7 + size
        record = piece if kind in (full, first) else record + piece
        if kind in (full, last):
            yield record
        else:
            assert kind in (first, middle)


def of_dvclive(folder: Path, metric: str) -> Found:
    import yaml

    lines = (folder / "dvclive" / "plots" / "metrics" / f"{metric}.tsv").read_text().splitlines()[1:]
    values = {int(step): float(value) for step, value in (line.split("\t")[-2:] for line in lines)}
    params = yaml.safe_load((folder / "dvclive" / "params.yaml").read_text())
    return values, {name: str(value) for name, value in params.items()}


@pytest.mark.parametrize(("name", "found"), [("mlflow", of_mlflow), ("wandb", of_wandb), ("dvclive", of_dvclive)])
def test_a_tracker_keeps_what_a_training_tells_it(
    name: str,
    found: Callable[[Path, str], Found],
    tmp_path: Path,
    sanity_params: Params,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    config = sanity_params.config("model", "train")
    config["model"]["overrides"] = {"tissues": [f"a tissue of some length, number {number}" for number in range(54)]}
    logs = tmp_path / "logs" / "run"
    (tracker,) = open_trackers([name], logs, config)
    for step in range(1, 4):
        tracker.log({"train/mse": 1 / step, "speed/transcripts_per_s": 12.0}, step)
        if step == 2:
            tracker.log({"valid/mse": 0.75, "valid/r2": 0.25}, step)
    tracker.close()
    assert "left out" not in capfd.readouterr().err
    values, params = found(logs, "train/mse")
    assert values == pytest.approx({1: 1.0, 2: 0.5, 3: 1 / 3})
    assert found(logs, "valid/r2")[0] == {2: 0.25}
    wanted: dict[str, Any] = flat(config)
    assert {key: params[key] for key in wanted} == {key: str(value) for key, value in wanted.items()}
    assert wanted["train.towers.rna.lora_rank"] == 8
    assert list((tmp_path / "here").iterdir()) == [], "the folder that a training runs in may be a repository"


def test_curves_go_on_where_a_training_does(
    tmp_path: Path, sanity_params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dvclive")
    monkeypatch.chdir(tmp_path)
    for steps in ((1, 2), (3, 4)):
        (tracker,) = open_trackers(["dvclive"], tmp_path / "logs", sanity_params.config("model", "train"))
        for step in steps:
            tracker.log({"train/mse": float(step)}, step)
        tracker.close()
    assert of_dvclive(tmp_path / "logs", "train/mse")[0] == {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}
