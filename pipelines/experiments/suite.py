"""A suite from the command line to its trials."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from components.artifacts import PAYLOAD, open_artifact
from components.experiments.records import Plan, write_plan
from components.experiments.suites import suite_of
from components.experiments.trials import plan
from components.params import Params
from components.train_model.data import read_dataset_facts
from model.config import MODALITIES
from model.errors import InputError
from pipelines.experiments.lock import only_run_in
from pipelines.experiments.runner import SuiteRun


def run_suite(
    name: str,
    params: Params,
    *,
    seeds: int,
    transcripts: Sequence[Path],
    pretrained: Sequence[str],
    jobs: int,
    price_per_hour: float | None,
    out: Path,
    only: Sequence[str] = (),
) -> Plan:
    """Plan a suite in `out` and run what is missing of it; see `SuiteRun.run` for what is raised."""
    suite = suite_of(name, network=params.model.preset)
    if only:
        suite = suite.restricted(only)
    trials = plan(suite, params, seeds=seeds, pretrained=_checkpoints(pretrained))
    with only_run_in(out):
        planned = write_plan(out, suite, params.model.preset, trials, _by_window(transcripts))
        at_once, threads = shares(jobs, params)
        SuiteRun(plan=planned, jobs=at_once, threads=threads, price_per_hour=price_per_hour).run()
    return planned


def shares(jobs: int, params: Params) -> tuple[int, int]:
    """Trials at a time, and threads of each: one of each per core where nobody says; one at a time on a GPU."""
    cores = len(os.sched_getaffinity(0))
    threads = min(params.runtime.threads or cores, cores)
    if jobs == 0:
        jobs = 1 if _has_gpu(params) else threads
    return jobs, max(1, threads // jobs)


def _has_gpu(params: Params) -> bool:
    if params.runtime.device != "auto":
        return params.runtime.device == "cuda"
    import torch

    return torch.cuda.is_available()


def _by_window(transcripts: Sequence[Path]) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for path in transcripts:
        window = int(read_dataset_facts(open_artifact(path, "transcripts").payload)["window_bp"])
        if window in found:
            raise InputError(
                where="--transcripts",
                expected="one data set per window length",
                found=f"{found[window]} and {path}, both of {window:,} bp",
                fix="Give one of them; other data go into another --out.",
            )
        found[window] = path
    return found


def _checkpoints(given: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in given:
        tower, separator, path = text.partition("=")
        if not separator or tower not in MODALITIES or not Path(path).exists():
            raise InputError(
                where="--pretrained",
                expected=f"TOWER=PATH, TOWER one of {', '.join(MODALITIES)}, PATH an existing checkpoint",
                found=repr(text),
                fix="For example rna=runs/pretrained/rna.",
            )
        # An artifact's tensors lie in its payload.
        found[tower] = Path(path) / PAYLOAD if (Path(path) / PAYLOAD).is_dir() else Path(path)
    return found
