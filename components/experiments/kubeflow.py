"""What the Kubeflow wrappers of the experiments do: trials by name, one pod each, and the report over all of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.artifacts import open_artifact
from components.experiments.records import write_plan
from components.experiments.suites import suite_of
from components.experiments.trials import Trial, plan
from components.params import Params

if TYPE_CHECKING:
    from kfp import dsl


def trial_names(params: str, suite: str, seeds: int, pretrained: str) -> list[str]:
    """One short text per trial; `pretrained` is JSON, checkpoint by tower. Kubernetes bounds a parameter's size."""
    return [_name(trial) for trial in _trials(params, suite, seeds, pretrained)]


def train_and_evaluate(
    transcripts: dsl.Artifact,
    model: dsl.Artifact,
    evaluation: dsl.Artifact,
    trial: str,
    params: str,
    suite: str,
    pretrained: str,
    work_root: str,
) -> None:
    """Run both steps of a trial in one pod: each pod costs seconds."""
    from components.kubeflow import run_component

    configuration, _, seed = trial.rpartition(":")
    tree = Params.from_json(params).changed({"train": {"seed": int(seed)}})
    chosen = next(item for item in _trials(tree.to_json(), suite, 1, pretrained) if item.configuration == configuration)
    text = chosen.params.to_json()
    run_component("train_model", inputs={"transcripts": transcripts}, params=text, work_root=work_root, out=model)
    inputs = {"transcripts": transcripts, "model": model}
    run_component("evaluate_model", inputs=inputs, params=text, work_root=work_root, out=evaluation)
    evaluation.metadata["trial"] = trial


def write_pages(
    transcripts: dsl.Artifact,
    evaluations: Sequence[dsl.Artifact],
    experiments: dsl.Artifact,
    report: dsl.Artifact,
    tables: dsl.Artifact,
    params: str,
    suite: str,
    seeds: int,
    pretrained: str,
) -> None:
    """Lay the evaluations out as a folder of experiments, and report it."""
    from components.experiments.report import write_report
    from components.train_model.data import read_dataset_facts

    tree = Params.from_json(params)
    data = Path(transcripts.path)
    window = int(read_dataset_facts(open_artifact(data, "transcripts").payload)["window_bp"])
    folder = Path(experiments.path)
    folder.mkdir(parents=True, exist_ok=True)
    network = tree.model.preset
    trials = _trials(params, suite, seeds, pretrained)
    planned = write_plan(folder, suite_of(suite, network=network), network, trials, {window: data})
    place = {f"{item.configuration}:{item.seed}": item.evaluation for item in planned.trials}
    for evaluation in evaluations:
        shutil.copytree(evaluation.path, place[evaluation.metadata["trial"]], dirs_exist_ok=True)
    write_report(folder, resamples=2000)
    shutil.copyfile(folder / "report.html", report.path)
    shutil.copyfile(folder / "report.md", tables.path)


def _trials(params: str, suite: str, seeds: int, pretrained: str) -> list[Trial]:
    tree = Params.from_json(params)
    towers = {name: Path(path) for name, path in json.loads(pretrained).items()}
    return plan(suite_of(suite, network=tree.model.preset), tree, seeds=int(seeds), pretrained=towers)


def _name(trial: Trial) -> str:
    return f"{trial.configuration}:{trial.seed}"
