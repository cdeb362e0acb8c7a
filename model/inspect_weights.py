"""What a file of weights is: layout, sizes, types, which named network it fits, under which licence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

from model.card import read_origins
from model.checkpoint_files import PICKLE_SUFFIXES, CheckpointFiles
from model.config import EnformerConfig, HeadConfig, IsoFormerConfig
from model.isoformer import IsoFormer
from model.key_maps import ENFORMER, ISOFORMER_JOIN, ROTARY, KeyMapFile
from model.presets import ENCODERS, preset
from model.pretrained import plan_isoformer, plan_tower
from model.provenance import LICENCES
from model.renamed import RenamedCheckpoint
from model.tokenizers import ESM_VOCABULARY, SIXMER_VOCABULARY

_MIB = 1 << 20
# Problems shown of the preset that comes nearest.
_SHOWN = 3


def inspect_weights(path: Path, key_map: Path | None = None) -> list[str]:
    """Lines that describe the weights at a path, from headers alone; `InputError` where it is no file of weights."""
    if path.is_file() and path.suffix in PICKLE_SUFFIXES:
        return [
            f"{path.name}: {path.stat().st_size / _MIB:,.1f} MiB, a format that can run code when read: not opened",
            f"next: isoformer convert-weights {path} {path.with_suffix('.safetensors')}",
        ]
    files = CheckpointFiles(path)
    corrections = KeyMapFile.read(key_map)
    source = RenamedCheckpoint(files, corrections)
    types = Counter(facts.dtype for facts in files.tensors.values())
    values = sum(torch.Size(facts.shape).numel() for facts in files.tensors.values())
    size = sum(file.stat().st_size for file in files.files)
    lines = [f"files: {', '.join(file.name for file in files.files)} ({size / _MIB:,.1f} MiB)"]
    lines.append(f"tensors: {len(files.tensors):,}, {values:,} values")
    lines.append(f"types: {', '.join(f'{count} {name}' for name, count in sorted(types.items()))}")
    layout = layout_of(source)
    lines.append(f"layout: {layout or 'unknown'}")
    if layout is None:
        lines.append(f"names: {', '.join(sorted(source.names)[:5])}, …")
        return lines
    lines.append(f"licence: {LICENCES[layout]}")
    if layout == "isoformer":
        return lines + list(_own(files))
    return lines + list(_fits(source, corrections, layout))


def layout_of(source: RenamedCheckpoint) -> str | None:
    """The layout's name, a key of `LICENCES`; None where no table knows the tensors."""
    if any(name.startswith("encoders.") for name in source.names) and "head.outer.weight" in source.names:
        return "isoformer"
    if source.prefixes_of(ISOFORMER_JOIN.anchor, None):
        return "isoformer-released"
    if source.prefixes_of(ENFORMER.anchor, None):
        return "enformer-pytorch"
    if source.prefixes_of(ROTARY.anchor, SIXMER_VOCABULARY):
        return "huggingface-nt-v2"
    if source.prefixes_of(ROTARY.anchor, ESM_VOCABULARY):
        return "huggingface-esm2"
    return None


def _own(files: CheckpointFiles) -> Iterator[str]:
    config = IsoFormerConfig.from_dict(dict(files.config()))
    yield f"model: {config.name}, reads {', '.join(config.modalities)}; {len(config.tissues)} tissues"
    for report in read_origins(files.folder).values():
        yield f"grew from {report.summary()}"


def _fits(source: RenamedCheckpoint, corrections: KeyMapFile, layout: str) -> Iterator[str]:
    """The named networks that the tensors fit, or what is wrong with the nearest one."""
    nearest: tuple[int, str, list[str]] | None = None
    fitting = []
    for name, part, config in _candidates(layout):
        with torch.device("meta"):
            model = IsoFormer(config)
        if part == "isoformer":
            plan = plan_isoformer(model, source, corrections, new_head=False)
        else:
            plan = plan_tower(model, part, source, corrections)
        if not plan.problems:
            counted = sum(tensor.numel() for tensor in plan.wanted.values())
            unused = sum(len(names) for names in plan.ignored.values())
            fitting.append(f"fits: {name} as {part}, {counted:,} parameters used, {unused} tensors unused")
        elif nearest is None or len(plan.problems) < nearest[0]:
            nearest = len(plan.problems), name, plan.problems
    yield from fitting
    if not fitting and nearest is not None:
        count, name, problems = nearest
        more = f"; and {count - _SHOWN} more" if count > _SHOWN else ""
        yield f"fits: no named network; nearest {name}: {'; '.join(problems[:_SHOWN])}{more}"
    if layout == "isoformer-released":
        yield "this layout is reconstructed: UNVERIFIED against the published file (docs/weights.md)"


def _candidates(layout: str) -> Iterator[tuple[str, str, IsoFormerConfig]]:
    """Named networks of a layout: name, the part that they are loaded as, a configuration that holds them."""
    if layout == "isoformer-released":
        yield "isoformer-released", "isoformer", preset("isoformer-released")
        return
    starts = {"enformer-pytorch": "enformer", "huggingface-nt-v2": "nt-v2", "huggingface-esm2": "esm2"}
    for name, build in ENCODERS.items():
        if name.startswith(starts[layout]):
            part = {"enformer": "dna", "nt-v2": "rna", "esm2": "protein"}[starts[layout]]
            encoder = build()
            window = 196_608 if isinstance(encoder, EnformerConfig) else 128
            none = {"dna": None, "rna": None, "protein": None}
            yield (
                name,
                part,
                IsoFormerConfig(
                    window_bp=window,
                    head=HeadConfig(expansion=0.01),
                    **{**none, part: encoder},  # type: ignore[arg-type]
                ),
            )
