"""What shapes of tensors do not show: numbers of heads, embedding rescaling, tissues, gamma basis."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from model.checkpoint_files import CheckpointFiles
from model.config import EnformerConfig, IsoFormerConfig, RotaryConfig
from model.errors import InputError
from model.renamed import RenamedCheckpoint

# Settings that change no prediction of a trained encoder.
_FREE = {"max_tokens", "embedding_dropout", "dropout", "attention_dropout", "position_dropout", "output_dropout"}
_FREE |= {"batch_norm"}


def head_count_problems(source: RenamedCheckpoint, prefix: str, config: EnformerConfig | RotaryConfig) -> Iterator[str]:
    """Numbers of heads, which no weight of a rotary encoder shows, from tensors that the network does not use."""
    if isinstance(config, EnformerConfig):
        return
    contacts = f"{prefix}contact_head.regression.weight"
    maps = config.layers * config.heads
    if contacts in source.names and source.facts(contacts).shape[-1] != maps:
        yield (
            f"a contact head over {source.facts(contacts).shape[-1]} attention maps instead of {maps} "
            f"({config.layers} layers of {config.heads} heads)"
        )
    half = config.width // config.heads // 2
    for name in source.names:
        if name.startswith(prefix) and name.endswith("rotary_embeddings.inv_freq"):
            found = source.facts(name).shape
            if found != (half,):
                yield f"rotary frequencies {name} {found} instead of ({half},): another number of heads"


def config_problems(theirs: Mapping[str, object], config: EnformerConfig | RotaryConfig) -> Iterator[str]:
    """What a Hugging Face config.json says otherwise; a key that it does not have is not judged."""
    if isinstance(config, EnformerConfig) or theirs.get("model_type") != "esm":
        return
    wanted: dict[str, object] = {
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "position_embedding_type": "rotary",
        "token_dropout": config.token_dropout,
    }
    for key, value in wanted.items():
        if key in theirs and theirs[key] != value:
            yield f"config.json: {key} {theirs[key]!r} instead of {value!r}"
    if theirs.get("emb_layer_norm_before"):
        yield "config.json: emb_layer_norm_before, a norm that the network does not have"


def notes_of(layout: str, theirs: Mapping[str, object], config: IsoFormerConfig, tower: str) -> Iterator[str]:
    """What a user should know, and may have meant."""
    encoder = getattr(config, tower)
    if isinstance(encoder, EnformerConfig):
        expected = "per_distance" if layout == "isoformer-released" else "per_basis"
        if encoder.gamma_basis != expected:
            yield f"{layout} weights were trained with gamma_basis {expected}; the model has {encoder.gamma_basis}"
    else:
        epsilon = theirs.get("layer_norm_eps")
        if epsilon is not None and epsilon != encoder.layer_norm_eps:
            yield f"{tower}: layer_norm_eps is {encoder.layer_norm_eps:g} here and {epsilon} in config.json"
        if not theirs and layout != "isoformer-released":
            yield f"{tower}: no config.json beside the weights to compare heads and token_dropout with"
    if layout == "isoformer-released" and config.fusion.absent != "specials":
        yield (
            f"the released model attends to the special tokens of an absent sequence (fusion.absent: specials); "
            f"this one has {config.fusion.absent}"
        )


def own_config_problems(files: CheckpointFiles, config: IsoFormerConfig, part: str) -> Iterator[str]:
    """Where config.json of another IsoFormer differs in what changes predictions; it must be there."""
    data = files.config()
    if not data:
        raise InputError(
            where=str(files.folder),
            expected="config.json beside the weights",
            found="none",
            fix="Give the whole folder of the model.",
        )
    theirs = IsoFormerConfig.from_dict(dict(data))
    sections = ("dna", "rna", "protein", "fusion", "head", "window_bp") if part == "isoformer" else (part,)
    for section in sections:
        ours, other = _facts(getattr(config, section)), _facts(getattr(theirs, section))
        for key in sorted(ours.keys() | other.keys()):
            if ours.get(key) != other.get(key):
                yield f"config.json: {section}.{key} {other.get(key)!r} instead of {ours.get(key)!r}"


def _facts(section: object) -> dict[str, object]:
    if not dataclasses.is_dataclass(section) or isinstance(section, type):
        return {"value": section}
    return {key: value for key, value in dataclasses.asdict(section).items() if key not in _FREE}
