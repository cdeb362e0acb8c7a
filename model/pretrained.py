"""Published weights into a network, strictly: every tensor of a tower is set from the file, or nothing is.

Missing, unexpected, misshapen, doubly used and not finite tensors are all listed and refused before anything is
copied. Which names mean what stands in `key_maps`; what was done is told by a `LoadReport`, which the model keeps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from model.card import read_origins
from model.checkpoint_files import CheckpointFiles
from model.config import GTEX_TISSUES, EnformerConfig, RotaryConfig
from model.errors import InputError
from model.isoformer import IsoFormer
from model.key_maps import ENFORMER, ISOFORMER_JOIN, ROTARY, KeyMapFile, Table, sources_of, template_of
from model.pretrained_checks import config_problems, head_count_problems, notes_of, own_config_problems
from model.provenance import LICENCES, LoadReport
from model.renamed import RenamedCheckpoint

Tower = Literal["dna", "rna", "protein"]


@dataclass(frozen=True)
class Source:
    """Names whose tensors, joined along the rows, are one of ours; `added_axes` of size 1 are dropped."""

    names: tuple[str, ...]
    added_axes: tuple[int, ...] = ()


@dataclass
class Plan:
    """Which names of the file make each of our tensors; `ignored` by reason, `problems` found so far."""

    part: str
    layout: str
    wanted: dict[str, Tensor]
    sources: dict[str, Source] = field(default_factory=dict)
    ignored: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    new: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def load_tower(model: IsoFormer, tower: Tower, path: Path, *, key_map: Path | None = None) -> LoadReport:
    """Set every weight of one encoder from a published checkpoint, or from another IsoFormer's folder.

    `path`: safetensors, an index of shards, or their folder. Raises `InputError` listing all that does not fit, with
    the encoder untouched.
    """
    if tower not in model.encoders:
        raise InputError(
            where=str(path),
            expected=f"weights of one of the model's encoders: {', '.join(model.config.modalities)}",
            found=f"the tower {tower!r}",
            fix="Choose another tower, or add it to the model.",
        )
    corrections = KeyMapFile.read(key_map)
    source = RenamedCheckpoint(CheckpointFiles(path), corrections)
    plan = Plan(part=tower, layout="isoformer", wanted=_state(model, f"encoders.{tower}."))
    if any(name.startswith(f"encoders.{tower}.") for name in source.names):
        _plan_own(plan, source, model, "fusion.", "head.", *(f"encoders.{name}." for name in ("dna", "rna", "protein")))
    else:
        plan.layout = _layout_of(getattr(model.config, tower))
        _plan_encoder(plan, source, model, tower, corrections)
    report = _load(plan, source, corrections)
    model.origins = {part: old for part, old in model.origins.items() if part != tower} | {tower: report}
    return report


def load_isoformer(model: IsoFormer, path: Path, *, key_map: Path | None = None, new_head: bool = False) -> LoadReport:
    """Set every weight of the model from the released checkpoint, or from another IsoFormer's folder.

    `new_head` leaves the head at its initial values, for other tissues; without it the tissues must be the
    checkpoint's. Raises `InputError` listing all that does not fit, with the model untouched.
    """
    corrections = KeyMapFile.read(key_map)
    source = RenamedCheckpoint(CheckpointFiles(path), corrections)
    own = any(name.startswith("encoders.") for name in source.names)
    plan = Plan(part="isoformer", layout="isoformer" if own else "isoformer-released", wanted=_state(model, ""))
    heads = {name: plan.wanted.pop(name) for name in list(plan.wanted) if new_head and name.startswith("head.")}
    plan.new = tuple(sorted(heads))
    if own:
        _plan_own(plan, source, model, *(["head."] if new_head else []))
    else:
        for name in model.config.modalities:
            _plan_encoder(plan, source, model, name, corrections)
        _plan_join(plan, source, corrections, heads)
    if not new_head:
        plan.problems += _tissue_problems(model, source, own)
    report = _load(plan, source, corrections)
    model.origins = {"isoformer": report}
    return report


def _state(model: IsoFormer, prefix: str) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if name.startswith(prefix)}


def _layout_of(config: EnformerConfig | RotaryConfig) -> str:
    if isinstance(config, EnformerConfig):
        return "enformer-pytorch"
    return "huggingface-esm2" if config.alphabet == "esm" else "huggingface-nt-v2"


def _plan_encoder(plan: Plan, source: RenamedCheckpoint, model: IsoFormer, tower: str, corrections: KeyMapFile) -> None:
    """Plan one encoder of a published file, under whatever prefix its names stand there."""
    config = getattr(model.config, tower)
    table = ENFORMER if isinstance(config, EnformerConfig) else ROTARY
    rows = None if isinstance(config, EnformerConfig) else config.vocabulary
    prefix = corrections.prefixes.get(tower)
    if prefix is None:
        prefix = source.prefix_of(table.anchor, rows, tower)
    _plan_table(plan, source, f"encoders.{tower}.", prefix, table, corrections)
    plan.problems += head_count_problems(source, prefix, config)
    plan.problems += config_problems(source.files.config(), config)
    plan.notes += notes_of(plan.layout, source.files.config(), model.config, tower)


def _plan_join(plan: Plan, source: RenamedCheckpoint, corrections: KeyMapFile, new_head: Mapping[str, Tensor]) -> None:
    """Plan fusion and head of the released checkpoint."""
    prefix = corrections.prefixes.get("join")
    if prefix is None:
        prefix = source.prefix_of(ISOFORMER_JOIN.anchor, None, "join")
    _plan_table(plan, source, "", prefix, ISOFORMER_JOIN, corrections)
    for name in new_head:
        found = sources_of(name, ISOFORMER_JOIN)
        names = [prefix + part for part in found or ()]
        plan.ignored.setdefault("head, left new as asked", []).extend(n for n in names if n in source.names)


def _plan_table(
    plan: Plan, source: RenamedCheckpoint, ours: str, theirs: str, table: Table, corrections: KeyMapFile
) -> None:
    """Find the file's names of our tensors below `ours`; the user's key map goes before the table."""
    override = Table(anchor="", names=corrections.tensors)
    for name in plan.wanted:
        if name in plan.sources or not name.startswith(ours) or (not ours and name.startswith("encoders.")):
            continue
        own = name.removeprefix(ours)
        named = sources_of(name, override)
        names = named or tuple(theirs + part for part in sources_of(own, table) or ())
        if names:
            plan.sources[name] = Source(names, table.added_axes.get(template_of(own)[0], ()))
        else:
            plan.problems.append(f"missing {name}: no rule says what it is called in this layout")


def _plan_own(plan: Plan, source: RenamedCheckpoint, model: IsoFormer, *unused: str) -> None:
    """Plan names that are ours already; `unused` are prefixes of parts that are not asked for."""
    plan.sources = {name: Source((name,)) for name in plan.wanted}
    kept = [name for name in source.names if name.startswith(unused) and name not in plan.wanted] if unused else []
    if plan.part != "isoformer":
        # Within the tower that is asked for nothing may be left over.
        kept = [name for name in kept if not name.startswith(f"encoders.{plan.part}.")]
    if kept:
        plan.ignored["parts of the other model that were not asked for"] = kept
    plan.problems += own_config_problems(source.files, model.config, plan.part)


def _tissue_problems(model: IsoFormer, source: RenamedCheckpoint, own: bool) -> Iterator[str]:
    theirs = tuple(map(str, source.files.config().get("tissues", ()))) if own else GTEX_TISSUES  # type: ignore[call-overload]
    if model.config.tissues != theirs:
        yield (
            f"a head for {len(theirs)} tissues ({', '.join(theirs[:3])}, …) where the model has "
            f"{len(model.config.tissues)} ({', '.join(model.config.tissues[:3])}, …): --new-head starts a new one"
        )


def _load(plan: Plan, source: RenamedCheckpoint, corrections: KeyMapFile) -> LoadReport:
    """Check the whole plan, then copy."""
    used = {part for made_of in plan.sources.values() for part in made_of.names}
    known = used.union(*plan.ignored.values())
    for reason, names in source.unused(known).items():
        plan.ignored.setdefault(reason, []).extend(names)
    plan.problems += _problems(plan, source, used)
    if not plan.problems:
        plan.problems += [text for name in plan.wanted for text in _value_problems(plan, source, name)]
    if plan.problems:
        raise InputError(
            where=str(source.files.path),
            expected=f"every tensor of {plan.part} in the {plan.layout} layout, and no other",
            found="; ".join(plan.problems),
            fix="Give the checkpoint that fits this configuration, or correct names by a key map (docs/weights.md).",
        )
    with torch.no_grad():
        for name, target in plan.wanted.items():
            target.copy_(_assembled(plan, source, name))
    licence = LICENCES[plan.layout]
    if plan.layout == "isoformer" and (before := read_origins(source.files.folder)):
        licence = "; ".join(sorted({report.licence for report in before.values()}))
    return LoadReport(
        part=plan.part,
        layout=plan.layout,
        files=source.files.digests(),
        tensors=len(plan.wanted),
        parameters=sum(tensor.numel() for tensor in plan.wanted.values()),
        dtype=", ".join(sorted({source.facts(name).dtype for name in used})),
        licence=licence,
        ignored={reason: tuple(sorted(names)) for reason, names in sorted(plan.ignored.items())},
        new=plan.new,
        notes=tuple(dict.fromkeys(plan.notes)),
        key_map=corrections.sha256,
        verified=plan.layout != "isoformer-released",
    )


def _problems(plan: Plan, source: RenamedCheckpoint, used: set[str]) -> Iterator[str]:
    """Names and shapes that do not fit."""
    ignored = set[str]().union(*plan.ignored.values())
    users: dict[str, str] = {}
    for name, made_of in plan.sources.items():
        for part in made_of.names:
            if part in users:
                yield f"used twice {part}: for {users[part]} and {name}"
            users[part] = name
            if part not in source.names:
                yield f"missing {part} (our {name})"
        if all(part in source.names for part in made_of.names):
            yield from _shape_problems(name, plan.wanted[name], made_of, source)
    for name in sorted(source.names.keys() - used - ignored):
        yield f"unexpected {name} {source.facts(name).shape}"


def _shape_problems(name: str, target: Tensor, made_of: Source, source: RenamedCheckpoint) -> Iterator[str]:
    wanted = list(target.shape)
    wanted[:1] = [rows // len(made_of.names) for rows in wanted[:1]]
    for axis in made_of.added_axes:
        wanted.insert(axis, 1)
    for part in made_of.names:
        facts = source.facts(part)
        if facts.shape != tuple(wanted):
            yield f"misshapen {part} {facts.shape} instead of {tuple(wanted)} (our {name})"
        if facts.dtype not in ("F64", "F32", "F16", "BF16"):
            yield f"mistyped {part} {facts.dtype} instead of floating point"
    if target.is_meta:
        yield f"our {name} has no memory: it is on the meta device"


def _value_problems(plan: Plan, source: RenamedCheckpoint, name: str) -> Iterator[str]:
    """Copies under several names that differ, and values that are no numbers."""
    for part in plan.sources[name].names:
        first, *others = (source.files.read(raw) for raw in source.names[part])
        if any(not torch.equal(first, other) for other in others):
            yield f"contradicting {' and '.join(source.names[part])}: the same tensor with other values"
        if not first.isfinite().all():
            yield f"not finite {part}"


def _assembled(plan: Plan, source: RenamedCheckpoint, name: str) -> Tensor:
    tensors = [source.files.read(source.names[part][0]) for part in plan.sources[name].names]
    joined = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
    return joined.reshape(plan.wanted[name].shape)
