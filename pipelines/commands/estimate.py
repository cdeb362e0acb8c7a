"""`isoformer estimate`: what training will take, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import plain_app

if TYPE_CHECKING:
    from model.config import IsoFormerConfig
    from model.planning import Plan, SequenceLengths

GIB = 2**30
# Above this a real step would take a CPU minutes.
PROBED_PARAMETERS = 20_000_000


def build(command: str) -> typer.Typer:
    """The application of `isoformer estimate`."""
    app = plain_app()
    app.command(command)(estimate)
    return app


def estimate(
    preset: Annotated[
        str | None, typer.Option("--preset", help="A named size: isoformer, isoformer-nt, tiny …")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A model's config.json, instead of a preset.")] = None,
    gpu: Annotated[str, typer.Option("--gpu", help="h200, h100, a100, l40s, l4, or cpu: this machine.")] = "h200",
    transcripts: Annotated[
        Path | None,
        typer.Option("--transcripts", help="What extract-sequences wrote; typical human lengths if not given."),
    ] = None,
    count: Annotated[int | None, typer.Option("--count", help="Transcripts per epoch; 82,205 as published.")] = None,
    micro_batch: Annotated[int, typer.Option("--micro-batch", help="Transcripts per device and step.")] = 8,
    precision: Annotated[str | None, typer.Option("--precision", help="bf16 or fp32; bf16 on a GPU.")] = None,
    usd_per_hour: Annotated[float | None, typer.Option("--usd-per-hour", help="Price of the device.")] = None,
    efficiency: Annotated[
        float | None, typer.Option("--efficiency", help="Share of the peak that large products reach, 0 to 1.")
    ] = None,
) -> None:
    """Say parameters, memory, operations, step time and cost per epoch."""
    from dataclasses import replace

    from model.hardware import THIS_CPU, machine
    from model.planning import calibrated, largest_micro_batch, plan_training

    chosen, lengths = _configuration(preset, config), _lengths(transcripts)
    device = machine(gpu)
    _check(precision, usd_per_hour, efficiency)
    if usd_per_hour is not None:
        device = replace(device, usd_per_hour=usd_per_hour)
    if efficiency is not None:
        device = replace(device, efficiency=efficiency)
    notes = []
    if gpu == THIS_CPU and _parameters(chosen) <= PROBED_PARAMETERS:
        device = calibrated(device, chosen, lengths)
        notes.append("scaled by a real step of 16 transcripts on this machine")
    elif gpu != THIS_CPU:
        notes.append(f"{device.efficiency:.0%} of the peak in large products; not measured on this device")
    plan = plan_training(
        chosen,
        device,
        lengths,
        micro_batch=micro_batch,
        transcripts=count or (82_205 if transcripts is None else len(lengths.rna_nt)),
        precision=precision or ("fp32" if gpu == THIS_CPU else "bf16"),
    )
    _print(chosen, plan, largest_micro_batch(plan, chosen, lengths), notes, str(transcripts or "typical human lengths"))


def _configuration(preset_name: str | None, path: Path | None) -> IsoFormerConfig:
    import json

    from model.config import IsoFormerConfig
    from model.errors import InputError
    from model.presets import preset

    if (preset_name is None) == (path is None):
        raise InputError(
            where="isoformer estimate",
            expected="either --preset or --config",
            found="both" if path else "neither",
            fix="Give one of them, e.g. --preset isoformer.",
        )
    if path is None:
        return preset(preset_name or "")
    try:
        return IsoFormerConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            where=str(path), expected="a model's config.json", found=str(error), fix="Correct the path or the file."
        ) from None


def _lengths(folder: Path | None) -> SequenceLengths:
    import numpy as np

    from model.errors import InputError
    from model.planning import SequenceLengths

    if folder is None:
        return SequenceLengths.typical()
    path = next(
        (p for p in (folder / "payload" / "transcripts.parquet", folder / "transcripts.parquet") if p.is_file()), None
    )
    if path is None:
        raise InputError(
            where=str(folder),
            expected="what extract-sequences wrote",
            found="no transcripts.parquet",
            fix="Give the folder that --out of extract-sequences named.",
        )
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    columns = ["rna", "protein", "contig", "strand", "window_start"]
    table = pq.read_table(path, columns=columns, filters=[("split", "==", "train")])
    windows = table.select(["contig", "strand", "window_start"]).group_by(["contig", "strand", "window_start"])
    if not len(table):
        raise InputError(
            where=str(path), expected="transcripts in split 'train'", found="none", fix="Change extract.split."
        )
    rna, residues = (
        np.asarray(pc.fill_null(pc.utf8_length(table[name]), 0), dtype=np.int64) for name in ("rna", "protein")
    )
    per_window = len(table) / len(windows.aggregate([]))
    return SequenceLengths(rna_nt=rna, residues=residues, transcripts_per_window=per_window)


def _check(precision: str | None, usd_per_hour: float | None, efficiency: float | None) -> None:
    from model.errors import InputError
    from model.planning import PRECISIONS

    if precision is not None and precision not in PRECISIONS:
        raise InputError(
            where="--precision", expected=f"one of {', '.join(PRECISIONS)}", found=repr(precision), fix="Correct it."
        )
    if efficiency is not None and not 0 < efficiency <= 1:
        raise InputError(where="--efficiency", expected="above 0, at most 1", found=str(efficiency), fix="Correct it.")
    if usd_per_hour is not None and usd_per_hour < 0:
        raise InputError(where="--usd-per-hour", expected="0 or more", found=str(usd_per_hour), fix="Correct it.")


def _parameters(config: IsoFormerConfig) -> int:
    import torch

    from model.isoformer import IsoFormer

    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        return sum(parameter.numel() for parameter in IsoFormer(config).parameters())


def _print(config: IsoFormerConfig, plan: Plan, largest: int, notes: list[str], source: str) -> None:
    memory = ", ".join(f"{name} {size / GIB:.2f}" for name, size in plan.state_bytes.items())
    parts = ", ".join(
        f"{name} {getattr(plan.forward, name) / plan.micro_batch / 1e12:.4g}"
        for name in ("dna", "rna", "protein", "fusion", "head")
    )
    achieved = plan.step_flops / plan.step_seconds / 1e12
    lines = [
        f"model         {config.name}, {plan.parameters:,} parameters",
        f"sequences     {source}; {plan.transcripts:,} transcripts per epoch",
        f"device        {plan.machine.name}, {plan.machine.memory_bytes / GIB:.0f} GiB usable, {plan.precision}",
        f"state         {memory} GiB",
        f"activations   {plan.activation_bytes / GIB:.2f} GiB per micro-batch of {plan.micro_batch}",
        f"peak memory   {plan.peak_bytes / GIB:.2f} GiB: {'fits' if plan.fits else 'DOES NOT FIT'}; "
        f"largest micro-batch that fits: {largest}",
        f"forward       {plan.forward.total / plan.micro_batch / 1e12:.4g} TFLOP per transcript ({parts})",
        f"step          {plan.step_flops / 1e12:.4g} TFLOP, {plan.step_seconds:.3g} s, {achieved:.3g} TFLOP/s",
        f"epoch         {plan.epoch_hours:.3g} device hours, {plan.epoch_usd:.2f} USD at "
        f"{plan.machine.usd_per_hour:.2f} per hour",
        "assumed       one device, everything trained with Adam in fp32 state, input and communication hidden;",
        f"              the price is a setting{''.join(f'; {note}' for note in notes)}",
    ]
    typer.echo("\n".join(lines))
