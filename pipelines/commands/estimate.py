"""`isoformer estimate`: what training will take, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import plain_app

if TYPE_CHECKING:
    from components.params import Params
    from model.config import IsoFormerConfig
    from model.planning import Plan, SequenceLengths
    from model.step_trace import Prepare

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
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="What is trained, and how: paper, single-gpu-day, or a params.yaml of yours."),
    ] = None,
    gpu: Annotated[str, typer.Option("--gpu", help="h200, h100, a100, l40s, l4, or cpu: this machine.")] = "h200",
    transcripts: Annotated[
        Path | None,
        typer.Option("--transcripts", help="What extract-sequences wrote; typical human lengths if not given."),
    ] = None,
    count: Annotated[int | None, typer.Option("--count", help="Transcripts per epoch; 82,205 as published.")] = None,
    micro_batch: Annotated[
        int | None,
        typer.Option("--micro-batch", help="Transcripts that a device computes at once; a recipe's budget, or 8."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="bf16 or fp32; the recipe's, or bf16 on a GPU.")
    ] = None,
    usd_per_hour: Annotated[float | None, typer.Option("--usd-per-hour", help="Price of the device.")] = None,
    efficiency: Annotated[
        float | None, typer.Option("--efficiency", help="Share of the peak that large products reach, 0 to 1.")
    ] = None,
) -> None:
    """Say parameters, memory, operations, step time and cost per epoch; of a recipe, for all its epochs."""
    from dataclasses import replace

    from model.hardware import THIS_CPU, machine
    from model.planning import calibrated, largest_micro_batch, plan_training

    lengths, params, prepare = _lengths(transcripts), None, None
    if recipe is None:
        chosen = _configuration(preset, config)
    else:
        params = _recipe(recipe, alone=preset is None and config is None)
        chosen, prepare = _prepared(params)
        precision = precision or ("bf16" if params.train.precision == "bf16" else "fp32")
        micro_batch = micro_batch or _transcripts_at_once(params, lengths)
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
        micro_batch=8 if micro_batch is None else micro_batch,
        transcripts=count or (82_205 if transcripts is None else len(lengths.rna_nt)),
        precision=precision or ("fp32" if gpu == THIS_CPU else "bf16"),
        batch_transcripts=None if params is None else -(-params.train.batch_transcripts // params.runtime.processes),
        prepare=prepare,
    )
    largest = largest_micro_batch(plan, chosen, lengths, prepare=prepare)
    _print(chosen, plan, largest, notes, str(transcripts or "typical human lengths"))
    if params is not None:
        _print_recipe(params, plan)


def _recipe(name: str, *, alone: bool) -> Params:
    """The parameters of a named recipe or of a file."""
    from components.params import load_params, preset_names
    from model.errors import InputError

    if not alone:
        raise InputError(
            where="--recipe",
            expected="neither --preset nor --config beside it: a recipe chooses its network",
            found="both",
            fix="Give --recipe alone; another network: model.preset in a params.yaml.",
        )
    if Path(name).suffix in (".yaml", ".yml"):
        return load_params(Path(name))
    if name not in preset_names():
        raise InputError(
            where="--recipe",
            expected=f"a params.yaml, or one of {', '.join(preset_names())}",
            found=repr(name),
            fix="Correct the name.",
        )
    return load_params(None, preset=name)


def _prepared(params: Params) -> tuple[IsoFormerConfig, Prepare]:
    """The network that a recipe trains, and what is frozen, adapted and computed again in it."""
    from components.train_model.network import chosen_network
    from components.train_model.towers import prepare

    return chosen_network(params), lambda model: prepare(model, params.train, params.runtime)


def _transcripts_at_once(params: Params, lengths: SequenceLengths) -> int:
    """How many transcripts of average length the recipe's budget lets through, at most a step's for each process."""
    import numpy as np

    budget = params.train.budget
    bounds = [params.train.batch_transcripts / params.runtime.processes]
    for limit, each in (
        (budget.transcripts, 1.0),
        (budget.dna_windows, 1 / lengths.transcripts_per_window),
        (budget.rna_tokens, float(np.mean(lengths.rna_nt)) / 6),
        (budget.protein_tokens, float(np.mean(lengths.residues))),
    ):
        if limit is not None:
            bounds.append(limit / each)
    return max(1, int(min(bounds)))


def _configuration(preset_name: str | None, path: Path | None) -> IsoFormerConfig:
    import json

    from model.config import IsoFormerConfig
    from model.errors import InputError

    if (preset_name is None) == (path is None):
        raise InputError(
            where="isoformer estimate",
            expected="either --preset or --config",
            found="both" if path else "neither",
            fix="Give one of them, e.g. --preset isoformer, or --recipe paper.",
        )
    if path is None:
        return _preset(preset_name or "")
    try:
        return IsoFormerConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            where=str(path), expected="a model's config.json", found=str(error), fix="Correct the path or the file."
        ) from None


def _preset(name: str) -> IsoFormerConfig:
    from components.params import preset_names
    from model.errors import InputError
    from model.presets import PRESETS, preset

    if name not in PRESETS and name in preset_names():
        raise InputError(
            where="--preset", expected="a size of network", found=f"the recipe {name}", fix=f"Give --recipe {name}."
        )
    return preset(name)


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
        f"model         {config.name}, {plan.parameters:,} parameters, {plan.trained:,} of them trained",
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
        "assumed       one device, Adam with fp32 state, input and communication hidden;",
        f"              the price is a setting{''.join(f'; {note}' for note in notes)}",
    ]
    typer.echo("\n".join(lines))


def _print_recipe(params: Params, plan: Plan) -> None:
    train, processes = params.train, params.runtime.processes
    epochs = train.max_epochs
    typer.echo(
        f"recipe        at most {epochs} epochs in steps of {train.batch_transcripts} transcripts: "
        f"{epochs * plan.epoch_hours:.3g} device hours, {epochs * plan.epoch_usd:.2f} USD"
        + (f"; {epochs * plan.epoch_hours / processes:.3g} h on its {processes} devices" if processes > 1 else "")
    )
    late = [name for name, tower in train.towers if tower.unfreeze_epoch is not None]
    if late:
        typer.echo(f"not counted   that {', '.join(late)} will be unfrozen: these are the first epoch's figures")
    if train.ema_decay:
        typer.echo("not counted   the average of the weights: 4 bytes for each that is trained")
    if train.precision == "float64":
        typer.echo("not counted   that float64 takes twice the memory, and several times the time")
    if train.cache_frozen_towers:
        typer.echo("not counted   that outputs of frozen towers are kept: from the second epoch on they cost nothing")
