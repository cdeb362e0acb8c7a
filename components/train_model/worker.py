"""One training process: reads a specification, trains, leaves the model in the work folder.

Exit status: 0 trained; 2 bad input (told in error-RANK.json); 75 stopped by SIGTERM or Ctrl-C, or left behind by a
torchrun that was killed, with its state saved: run it again.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError

from components.artifacts import write_json
from components.harness import EXIT_STOPPED
from components.params import Params
from components.train_model.checkpoint import BEST, find_newest
from components.train_model.data import TranscriptData, read_dataset_facts
from components.train_model.disk import is_full, no_room
from components.train_model.loop import Trainer
from components.train_model.network import build_config
from components.train_model.orphans import end_with_parent, hold, orphaned
from components.train_model.parallel import load_state
from components.train_model.preflight import preflight
from components.train_model.sampler import check_budget
from components.train_model.spec import STOPPED, Spec
from components.train_model.stopping import Preempted, StopRequest
from components.train_model.tower_cache import fill_caches
from components.train_model.towers import (
    add_adapters,
    check_origins,
    check_recipe,
    load_initial_weights,
    origin_lines,
)
from components.train_model.trackers import open_trackers
from model.adapters import merge_lora
from model.card import CardFacts, write_card
from model.errors import InputError
from model.isoformer import IsoFormer
from model.weights import save_model

EXIT_INPUT_ERROR = 2


def train(spec: Spec, stop: StopRequest) -> None:
    """Train as specified and write model, history and throughput to `work/result`; raises `Preempted` after a stop."""
    recipe, runtime = spec.params.train, spec.params.runtime
    device, ranks = _start(spec.params)
    rank = dist.get_rank() if ranks > 1 else 0
    config = build_config(spec.params, read_dataset_facts(spec.payload))
    torch.manual_seed(recipe.seed)
    model = IsoFormer(config)
    check_recipe(model, recipe, runtime)
    load_initial_weights(model, spec.params.data.weights)
    check_origins(model, recipe)
    add_adapters(model, recipe)
    cluster_bp = recipe.tss_cluster_bp
    train_data = TranscriptData(spec.payload, config, "train", tss_cluster_bp=cluster_bp)
    # Early stopping must not read the genes that calibrate intervals.
    valid_data = TranscriptData(
        spec.payload, config, "valid", tss_cluster_bp=cluster_bp, calibration_share=recipe.calibration_share
    )
    if rank == 0:
        _describe(model, train_data, valid_data, spec.params, device, ranks)
    stop.end_all(device)
    datasets = [train_data, valid_data]
    for data in datasets:  # before hours are spent on caches
        check_budget(data.sizes, recipe.budget, data.transcript_ids)
    caches = fill_caches(model, recipe, runtime, spec.work, datasets, rank, ranks, device, lambda: stop.requested)
    stop.end_all(device)
    trainer = Trainer(model, train_data, valid_data, recipe, runtime, spec.work, device, _identity(spec, ranks), caches)
    if runtime.preflight or spec.preflight_only:
        preflight(trainer)
        stop.end_all(device)
    trainer.stop = stop
    if not spec.preflight_only:
        if rank == 0 and spec.logs is not None:
            trainer.trackers = open_trackers(runtime.trackers, spec.logs, spec.params.config("model", "train"))
        try:
            trainer.run()
        finally:
            for tracker in trainer.trackers:
                tracker.close()
        if rank == 0:
            _write_result(trainer, model, spec.work)
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def _start(params: Params) -> tuple[torch.device, int]:
    """Join the other ranks, and set threads and determinism."""
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    device = _device(params.runtime.device)
    if ranks > 1 or params.runtime.sharding == "fsdp":
        for key, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "0")):
            os.environ.setdefault(key, value)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    threads = params.runtime.threads or os.cpu_count() or 1
    local_ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(max(1, threads // local_ranks))
    # Some CUDA kernels have no deterministic form; on a CPU all that are used here do.
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    return device, ranks


def _describe(
    model: IsoFormer, train: TranscriptData, valid: TranscriptData, params: Params, device: torch.device, ranks: int
) -> None:
    count = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"{model.config.name}: {count:,} parameters; {len(train):,} training and {len(valid):,} validation "
        f"transcripts; {ranks} process(es) on {device.type}",
        *origin_lines(model, params.data.weights),
        sep="\n",
        flush=True,
    )
    if params.train.tss_cluster_bp:
        windows = len(set(train.window_key.tolist()))
        print(f"inexact: start sites within {params.train.tss_cluster_bp} bp share one of {windows:,} windows")


def _identity(spec: Spec, ranks: int) -> dict[str, Any]:
    """What a checkpoint of this run belongs to."""
    return {
        "inputs": dict(spec.inputs),
        "config": spec.params.config("extract", "model", "train"),
        "processes": ranks,
        "sharding": spec.params.runtime.sharding,
        "environment": {"torch": torch.__version__, "threads": torch.get_num_threads()},
    }


def _write_result(trainer: Trainer, model: IsoFormer, work: Path) -> None:
    best = find_newest(work / BEST)
    # An older one is no substitute.
    if best is None or best.progress.step != trainer.progress.best_step:
        raise InputError(
            where=str(work),
            expected=f"the model of the best epoch, of optimizer step {trainer.progress.best_step}",
            found="none" if best is None else f"one of step {best.progress.step}",
            fix="Delete the work folder and run again.",
        )
    whole = IsoFormer(model.config) if trainer.parallel.sharded else model
    whole.origins = model.origins
    merge_lora(whole)
    load_state(whole, best.tensors("model"))
    staging = work / ".result.partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    save_model(whole.float(), staging)
    if whole.origins:
        notes = (
            [f"trained on shared windows: start sites within {bp} bp"] if (bp := trainer.recipe.tss_cluster_bp) else []
        )
        write_card(staging, whole.config, whole.origins, CardFacts(notes=notes))
    write_json(staging / "history.json", trainer.progress.history)
    write_json(staging / "resharded.json", trainer.progress.resharded)
    figures = {name: float(f"{value:.6g}") for name, value in trainer.meter.figures(trainer.loader.stalled_s).items()}
    counted = {
        "transcripts": trainer.meter.total.transcripts,
        "seconds": round(trainer.meter.seconds, 3),
        "processes": trainer.ranks,
    }
    write_json(staging / "throughput.json", counted | figures)
    shutil.rmtree(work / "result", ignore_errors=True)
    staging.rename(work / "result")


def _device(name: str) -> torch.device:
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InputError(
            where="runtime.device", expected="a CUDA device", found="none", fix="Set runtime.device to cpu."
        )
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def _train_or_say_full(spec: Spec, stop: StopRequest) -> None:
    """Train; a disk that is full wherever training writes is told as what a person can mend."""
    try:
        train(spec, stop)
    except (OSError, SafetensorError) as error:
        if is_full(error):
            raise no_room(spec.work, "room for what training writes", error) from None
        raise


def main() -> int:
    """Entry point of a rank."""
    stop = StopRequest()
    stop.listen()
    end_with_parent()
    if orphaned():
        return EXIT_STOPPED
    spec = Spec.read(Path(sys.argv[1]))
    hold(spec.work)
    error_file = spec.work / f"error-{os.environ.get('RANK', '0')}.json"
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) and list(spec.work.glob("error-*.json")):
        return EXIT_INPUT_ERROR  # bad input stays bad, however often it is tried
    try:
        _train_or_say_full(spec, stop)
    except InputError as error:
        facts = {"where": error.where, "expected": error.expected, "found": error.found, "fix": error.fix}
        try:
            write_json(error_file, facts)
        except OSError:  # the disk that the error speaks of
            print(error, file=sys.stderr, flush=True)
        return EXIT_INPUT_ERROR
    except Preempted as stopped:
        # Under torchrun the statuses of ranks are lost: the step looks for this file.
        (spec.work / STOPPED).touch()
        print(stopped, file=sys.stderr, flush=True)
        return EXIT_STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
