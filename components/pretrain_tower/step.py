"""Pre-training of one encoder: language modelling of a rotary encoder on a FASTA file, track regression of an Enformer.

The payload is laid out like a model's folder: config.json of a network with that one encoder, and model.safetensors
with its tensors, named as in the whole network; so it is read by the same strict path as published checkpoints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.artifacts import write_artifact, write_json
from components.params import Params
from components.train_model.network import with_overrides
from components.work_folders import release, work_folder
from model.config import EnformerConfig, IsoFormerConfig, RotaryConfig
from model.errors import InputError
from model.presets import preset

if TYPE_CHECKING:
    import torch

    from components.pretrain_tower.loop import Pretrainer
    from components.pretrain_tower.tracks import TrackObjective

KIND = "pretrained_tower"
LANGUAGE, TRACKS = "language", "tracks"


def run(inputs: Mapping[str, Path], params: Params, out: Path, work: Path, *, tower: str) -> None:
    """Pre-train the encoder `tower` of the configured network and write it at `out`.

    `inputs`: `fasta` for language modelling; `genome` and `track_0`, `track_1`, … for track regression. A killed or
    stopped run goes on where it was. Raises `InputError` on bad data or an encoder that the objective does not fit.
    """
    objective = LANGUAGE if "fasta" in inputs else TRACKS
    network = network_of(params, tower)
    check(network, tower, objective)
    config = {
        **params.config("pretrain", "model"),
        "window_bp": params.extract.window_bp,
        "tower": tower,
        "objective": objective,
    }
    with write_artifact(out, kind=KIND, inputs=inputs, config=config) as writer:
        folder = work_folder(work, "pretrain_tower", inputs, config, exclusive=True)
        trainer = _pretrain(inputs, network, tower, params, folder)
        _write(trainer, network, tower, writer.payload)
        write_json(writer.payload / "history.json", trainer.history)
        write_json(writer.payload / "pretraining.json", config)
    release(folder)


def network_of(params: Params, tower: str) -> IsoFormerConfig:
    """The configured network with no encoder but `tower`."""
    base = preset(params.model.preset)
    if getattr(base, tower) is None:
        raise InputError(
            where="--tower", expected="an encoder of the network", found=tower, fix="Choose another model.preset."
        )
    others = {name: None for name in ("dna", "rna", "protein") if name != tower}
    whole = replace(base, window_bp=params.extract.window_bp, **others)  # type: ignore[arg-type]
    # Fusion and head are of no concern here; a tower may be overridden by its published name.
    changes = {name: value for name, value in params.model.overrides.items() if name == tower}
    return with_overrides(whole, changes)


def check(network: IsoFormerConfig, tower: str, objective: str) -> None:
    """Raise `InputError` where the encoder cannot learn the objective."""
    fits = isinstance(getattr(network, tower), RotaryConfig if objective == LANGUAGE else EnformerConfig)
    if not fits:
        wanted = {LANGUAGE: "a token encoder (Nucleotide Transformer, ESM-2)", TRACKS: "an Enformer"}
        other = {LANGUAGE: "pretrain-tracks", TRACKS: "pretrain-language"}
        raise InputError(
            where=f"the {tower} encoder of {network.name}",
            expected=f"{wanted[objective]}, for {objective}",
            found="another kind",
            fix=f"Use isoformer {other[objective]}, or another model.preset.",
        )


def _pretrain(
    inputs: Mapping[str, Path], network: IsoFormerConfig, tower: str, params: Params, folder: Path
) -> Pretrainer:
    import torch

    from components.pretrain_tower.loop import Objective, Pretrainer

    recipe = params.pretrain
    if params.runtime.threads:
        torch.set_num_threads(params.runtime.threads)
    device = _device(params.runtime.device)
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    torch.manual_seed(recipe.seed)
    encoder = getattr(network, tower)
    objective: Objective
    if "fasta" in inputs:
        from components.pretrain_tower.fasta_records import read_sequences
        from components.pretrain_tower.language import LanguageObjective

        sequences = read_sequences(inputs["fasta"], encoder.alphabet)
        if len(sequences) < 2:
            raise InputError(
                where=str(inputs["fasta"]),
                expected="at least two records, one to train on and one to validate",
                found="one",
                fix="Give more sequences; cut a long one into records.",
            )
        objective = LanguageObjective(encoder, sequences, recipe)
    else:
        objective = _tracks(inputs, network, encoder, params, folder)
    print(f"{tower} encoder of {network.name}: {len(objective):,} {objective.unit}", flush=True)
    trainer = Pretrainer(objective, recipe, folder, device)
    trainer.run()
    return trainer


def _tracks(
    inputs: Mapping[str, Path], network: IsoFormerConfig, encoder: EnformerConfig, params: Params, folder: Path
) -> TrackObjective:
    from components.extract_sequences.fasta import write_genome
    from components.pretrain_tower.tracks import TrackObjective, read_tracks
    from components.sequences import Genome

    place = folder / "genome.safetensors"
    write_genome(inputs["genome"], place)
    genome = Genome.open(place)
    names = sorted((name for name in inputs if name.startswith("track_")), key=lambda name: int(name[6:]))
    tracks = read_tracks([inputs[name] for name in names], genome, encoder.bp_per_position)
    return TrackObjective(encoder, network.window_bp, genome, tracks, params.pretrain)


def _write(trainer: Pretrainer, network: IsoFormerConfig, tower: str, payload: Path) -> None:
    """config.json and model.safetensors of the encoder, named as in the whole network."""
    from safetensors.torch import save_file

    from model.weights import CONFIG_FILE, WEIGHTS_FILE

    text = json.dumps(network.to_dict(), sort_keys=True, indent=1)
    (payload / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
    encoder: Any = trainer.objective.module.encoder
    tensors = {
        f"encoders.{tower}.{name}": value.detach().cpu().contiguous().clone()
        for name, value in sorted(encoder.state_dict().items())
    }
    save_file(tensors, payload / WEIGHTS_FILE, metadata={"format": "pt"})


def _device(name: str) -> torch.device:
    import torch

    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise InputError(where="runtime.device", expected="a CUDA device", found="none", fix="Set it to auto or cpu.")
    return torch.device("cuda" if has_gpu and name != "cpu" else "cpu")
