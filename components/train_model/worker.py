"""One training process: reads a specification, trains, leaves the model in the work folder.

Exit status: 0 trained; 2 bad input (told in error-RANK.json); 75 stopped by SIGTERM with its state saved: run it again.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from components.artifacts import write_json
from components.harness import EXIT_STOPPED
from components.train_model.data import TranscriptData, read_dataset_facts
from components.train_model.loop import Preempted, Trainer
from components.train_model.network import build_config
from components.train_model.spec import STOPPED, Spec
from model.errors import InputError
from model.isoformer import IsoFormer
from model.weights import save_model

EXIT_INPUT_ERROR = 2


def train(spec: Spec) -> None:
    """Train as specified and write model, history and throughput to `work/result`."""
    recipe, runtime = spec.params.train, spec.params.runtime
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    device = _device(runtime.device)
    if ranks > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    threads = runtime.threads or os.cpu_count() or 1
    torch.set_num_threads(max(1, threads // ranks))
    # Some CUDA kernels have no deterministic form; on a CPU all that are used here do.
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    facts = read_dataset_facts(spec.payload)
    config = build_config(spec.params, facts)
    torch.manual_seed(recipe.seed)
    model = IsoFormer(config)
    train_data = TranscriptData(spec.payload, config, "train")
    # Early stopping must not read the genes that calibrate intervals.
    valid_data = TranscriptData(spec.payload, config, "valid", calibration_share=recipe.calibration_share)
    if not dist.is_initialized() or dist.get_rank() == 0:
        count = sum(p.numel() for p in model.parameters())
        print(
            f"{config.name}: {count:,} parameters; {len(train_data):,} training and {len(valid_data):,} validation "
            f"transcripts; {ranks} process(es) on {device.type}",
            flush=True,
        )
    trainer = Trainer(model, train_data, valid_data, recipe, spec.work, device)
    trainer.run()
    if trainer.rank == 0:
        _write_result(trainer, spec.work)
    if dist.is_initialized():
        dist.destroy_process_group()


def _write_result(trainer: Trainer, work: Path) -> None:
    from components.train_model.checkpoint import load_newest

    best = load_newest(work / "best")
    if best is None:
        raise InputError(
            where=str(work),
            expected="a model of the best epoch",
            found="none",
            fix="Delete the work folder and run again.",
        )
    trainer.model.load_state_dict(best[1]["model"])
    staging = work / ".result.partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    save_model(trainer.model, staging)
    write_json(staging / "history.json", trainer.progress.history)
    seconds = max(trainer.seconds, 1e-9)
    write_json(
        staging / "throughput.json",
        {
            "transcripts": trainer.computed_transcripts,
            "seconds": round(seconds, 3),
            "transcripts_per_second": round(trainer.computed_transcripts / seconds, 2),
            "processes": trainer.ranks,
        },
    )
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


def main() -> int:
    """Entry point of a rank."""
    spec = Spec.read(Path(sys.argv[1]))
    try:
        train(spec)
    except InputError as error:
        facts = {"where": error.where, "expected": error.expected, "found": error.found, "fix": error.fix}
        write_json(spec.work / f"error-{os.environ.get('RANK', '0')}.json", facts)
        return EXIT_INPUT_ERROR
    except Preempted as stop:
        # Under torchrun the statuses of ranks are lost: the step looks for this file.
        (spec.work / STOPPED).touch()
        print(stop, file=sys.stderr, flush=True)
        return EXIT_STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
