"""Which weights the encoders start from, and which of them are trained when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import nn

from components.sections import WeightsParams
from components.train_model.parallel import blocks_of
from components.train_model.recompute import recomputed_blocks
from components.train_sections import RuntimeParams, TowerParams, TrainParams
from model.adapters import add_lora, freeze, unfreeze_last_blocks
from model.config import EnformerConfig
from model.errors import InputError
from model.estimate import TRAINING_FACTOR
from model.isoformer import IsoFormer
from model.pretrained import load_isoformer, load_tower

TOWERS = ("dna", "rna", "protein")
# Of `IsoFormer.origins`: the checkpoint of the whole network.
WHOLE = "isoformer"


def load_initial_weights(model: IsoFormer, weights: WeightsParams) -> None:
    """Load the configured checkpoints, the whole network's before those of towers; the model keeps where from."""
    key_map = Path(weights.key_map) if weights.key_map else None
    if weights.isoformer:
        load_isoformer(model, Path(weights.isoformer), key_map=key_map, new_head=weights.new_head)
    for name in TOWERS:
        path = getattr(weights, name)
        if path is not None:
            load_tower(model, name, Path(path), key_map=key_map)  # type: ignore[arg-type]


def origin_lines(model: IsoFormer, weights: WeightsParams) -> list[str]:
    """For people: where each tower's weights come from, and what is to be known of them."""
    lines = []
    for name in model.encoders:
        report = model.origins.get(name) or model.origins.get(WHOLE)
        path = getattr(weights, name) or weights.isoformer
        lines.append(f"weights of {name}: {f'{path} ({report.layout})' if report else 'random'}")
    rest = "random" if WHOLE not in model.origins else f"{weights.isoformer}{', a new head' * weights.new_head}"
    lines.append(f"weights of fusion and head: {rest}")
    return lines + [f"weights of {part}: {note}" for part, report in model.origins.items() for note in report.notes]


def check_origins(model: IsoFormer, recipe: TrainParams) -> None:
    """Raise `InputError` where a tower that is frozen or adapted, even for a while, has random weights."""
    random = {
        name: tower.trainable
        for name, tower in recipe.towers
        if name in model.encoders and tower.trainable != "all" and not {name, WHOLE} & model.origins.keys()
    }
    if random:
        raise InputError(
            where=", ".join(f"train.towers.{name}.trainable" for name in random),
            expected="initial weights of that tower in data.weights, or all",
            found=f"random weights for {', '.join(f'{name} ({kind})' for name, kind in random.items())}",
            fix=f"Name {', '.join(f'data.weights.{name}' for name in random)}, or data.weights.isoformer for the whole "
            "network, or set trainable to all.",
        )


def add_adapters(model: IsoFormer, recipe: TrainParams) -> None:
    """Put LoRA terms where the recipe says."""
    for name, tower in recipe.towers:
        if name in model.encoders and tower.trainable == "lora":
            add_lora(model, [name], rank=tower.lora_rank, alpha=tower.lora_alpha)


def set_trainable(model: IsoFormer, recipe: TrainParams, *, epoch: int) -> bool:
    """Freeze and unfreeze encoders as the recipe says for an epoch; whether that changed anything."""
    before = [parameter.requires_grad for parameter in model.parameters()]
    for name, encoder in model.encoders.items():
        tower: TowerParams = getattr(recipe.towers, name)
        kind = _kind(tower, epoch)
        if kind == "all" and all(parameter.requires_grad for parameter in encoder.parameters()):
            continue
        if kind == "all":
            everything = sum(1 for _ in _blocks_and_more(encoder))
            unfreeze_last_blocks(model, name, everything)
        else:
            freeze(model, [name])
        if kind == "last_blocks":
            unfreeze_last_blocks(model, name, tower.last_blocks)
        elif kind == "lora":
            for parameter_name, parameter in encoder.named_parameters():
                parameter.requires_grad_(parameter_name.endswith((".0.down", ".0.up")))
    return before != [parameter.requires_grad for parameter in model.parameters()]


def switch_to_training(network: nn.Module, model: IsoFormer, recipe: TrainParams, epoch: int) -> None:
    """Training mode, but for encoders that are frozen: those give the same answer every time."""
    network.train()
    for name, encoder in model.encoders.items():
        if _kind(getattr(recipe.towers, name), epoch) == "none":
            encoder.eval()


def prepare(model: IsoFormer, recipe: TrainParams, runtime: RuntimeParams) -> list[nn.Module]:
    """A new network as its first step finds it; returns the blocks whose activations are computed again."""
    add_adapters(model, recipe)
    set_trainable(model, recipe, epoch=0)
    switch_to_training(model, model, recipe, epoch=0)
    return list(recomputed_blocks(model, runtime.recompute_activations))


def always_frozen(recipe: TrainParams) -> list[str]:
    """Encoders that are never trained."""
    return [name for name, tower in recipe.towers if tower.trainable == "none" and tower.unfreeze_epoch is None]


def forward_passes(recipe: TrainParams, cached: Iterable[str]) -> Mapping[str, int]:
    """Forward passes that a training step of each encoder is worth."""
    worth = {"none": 1, "lora": TRAINING_FACTOR - 1}
    passes = {name: worth.get(tower.trainable, TRAINING_FACTOR) for name, tower in recipe.towers}
    return passes | dict.fromkeys(cached, 0)


def check_recipe(model: IsoFormer, recipe: TrainParams, runtime: RuntimeParams) -> None:
    """Raise `InputError` for tissues that there are not, and for what cannot be exact: split batch statistics,
    unfreezing of sharded weights.
    """
    dna = model.config.dna
    if (
        isinstance(dna, EnformerConfig)
        and dna.batch_norm == "global"
        and _kind(recipe.towers.dna, 0) != "none"
        and any(limit is not None for _, limit in recipe.budget)
    ):
        raise InputError(
            where="train.budget",
            expected="no budget with batch_norm global, whose statistics are those of the whole step",
            found="a budget that would split it",
            fix="Set model.overrides.dna.batch_norm to frozen, or all of train.budget to null.",
        )
    unknown = sorted(set(recipe.loss_tissues) - set(model.config.tissues))
    if unknown:
        raise InputError(
            where="train.loss_tissues",
            expected=f"tissues of the dataset: {', '.join(model.config.tissues)}",
            found=", ".join(unknown),
            fix="Name them as the dataset does, or none to count all.",
        )
    late = [name for name, tower in recipe.towers if tower.unfreeze_epoch is not None]
    if runtime.sharding == "fsdp" and late:
        raise InputError(
            where="runtime.sharding",
            expected="ddp, where towers are unfrozen later",
            found=f"fsdp with unfreeze_epoch of {', '.join(late)}",
            fix="Set runtime.sharding to ddp, or train in two runs, the second from the weights of the first.",
        )


def _kind(tower: TowerParams, epoch: int) -> str:
    return "all" if tower.unfreeze_epoch is not None and epoch >= tower.unfreeze_epoch else tower.trainable


def _blocks_and_more(encoder: nn.Module) -> Iterable[nn.Module]:
    yield from blocks_of(encoder)
    yield encoder
