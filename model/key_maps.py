"""Names of tensors in published checkpoints, as tables: ours on the left, theirs on the right.

`{}` stands for a number that is the same on both sides. A module's name stands for all its tensors (`.weight`,
`.bias`, running statistics); a tuple is joined along the rows. docs/weights.md explains each table.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.errors import InputError

Theirs = str | tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """One network's names. `anchor`: a tensor that only this network has, by which its prefix is found.

    `added_axes`: of tensors that the file holds with further axes of size 1, where these are.
    """

    anchor: str
    names: Mapping[str, Theirs]
    added_axes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


ENFORMER = Table(
    anchor="stem.0.weight",
    names={
        "stem_conv": "stem.0",
        "stem_residual.norm": "stem.1.fn.0",
        "stem_residual.conv": "stem.1.fn.2",
        "stem_pool.logits": "stem.2.to_attn_logits",
        "tower.{}.conv.norm": "conv_tower.{}.0.0",
        "tower.{}.conv.conv": "conv_tower.{}.0.2",
        "tower.{}.residual.norm": "conv_tower.{}.1.fn.0",
        "tower.{}.residual.conv": "conv_tower.{}.1.fn.2",
        "tower.{}.pool.logits": "conv_tower.{}.2.to_attn_logits",
        "transformer.{}.attention_norm": "transformer.{}.0.fn.0",
        "transformer.{}.attention.query": "transformer.{}.0.fn.1.to_q",
        "transformer.{}.attention.key": "transformer.{}.0.fn.1.to_k",
        "transformer.{}.attention.value": "transformer.{}.0.fn.1.to_v",
        "transformer.{}.attention.output": "transformer.{}.0.fn.1.to_out",
        "transformer.{}.attention.relative_key": "transformer.{}.0.fn.1.to_rel_k",
        "transformer.{}.attention.content_bias": "transformer.{}.0.fn.1.rel_content_bias",
        "transformer.{}.attention.position_bias": "transformer.{}.0.fn.1.rel_pos_bias",
        "transformer.{}.feed_forward_norm": "transformer.{}.1.fn.0",
        "transformer.{}.feed_forward_in": "transformer.{}.1.fn.1",
        "transformer.{}.feed_forward_out": "transformer.{}.1.fn.4",
        "final.norm": "final_pointwise.1.0",
        "final.conv": "final_pointwise.1.2",
    },
    added_axes={
        "stem_pool.logits.weight": (3,),
        "tower.{}.pool.logits.weight": (3,),
        "transformer.{}.attention.content_bias": (0, 2),
        "transformer.{}.attention.position_bias": (0, 2),
    },
)

# ESM-2 and Nucleotide Transformer v2 alike; NT's intermediate.dense holds the gate in its first half, as ours does.
ROTARY = Table(
    anchor="embeddings.word_embeddings.weight",
    names={
        "embedding": "embeddings.word_embeddings",
        "layers.{}.attention_norm": "encoder.layer.{}.attention.LayerNorm",
        "layers.{}.query_key_value": (
            "encoder.layer.{}.attention.self.query",
            "encoder.layer.{}.attention.self.key",
            "encoder.layer.{}.attention.self.value",
        ),
        "layers.{}.attention_output": "encoder.layer.{}.attention.output.dense",
        "layers.{}.feed_forward_norm": "encoder.layer.{}.LayerNorm",
        "layers.{}.feed_forward_in": "encoder.layer.{}.intermediate.dense",
        "layers.{}.feed_forward_out": "encoder.layer.{}.output.dense",
        "norm": "encoder.emb_layer_norm_after",
    },
)

# The released IsoFormer beside its three encoders. Reconstructed; never run on the published file.
ISOFORMER_JOIN = Table(
    anchor="head_layer_1.weight",
    names={
        "fusion.targets.dna.layers.rna.query": "cross_attention_layer_rna.query",
        "fusion.targets.dna.layers.rna.key": "cross_attention_layer_rna.key",
        "fusion.targets.dna.layers.rna.value": "cross_attention_layer_rna.value",
        "fusion.targets.dna.layers.rna.dense": "cross_attention_layer_rna.dense",
        "fusion.targets.dna.layers.protein.query": "cross_attention_layer_protein.query",
        "fusion.targets.dna.layers.protein.key": "cross_attention_layer_protein.key",
        "fusion.targets.dna.layers.protein.value": "cross_attention_layer_protein.value",
        "fusion.targets.dna.layers.protein.dense": "cross_attention_layer_protein.dense",
        "head.inner": "head_layer_1",
        "head.outer": "head_layer_2",
    },
)

# Other spellings of the same names: pattern → replacement.
SPELLINGS = {
    r"(^|\.)_trunk\.1\.": r"\1stem.",
    r"(^|\.)_trunk\.2\.": r"\1conv_tower.",
    r"(^|\.)_trunk\.4\.": r"\1transformer.",
    r"(^|\.)_trunk\.6\.": r"\1final_pointwise.",
    r"LayerNorm\.gamma$": "LayerNorm.weight",
    r"LayerNorm\.beta$": "LayerNorm.bias",
}

# Tensors of published files that the networks have no use for: pattern → reason.
UNUSED = {
    r"(^|\.)_heads\.": "Enformer's human and mouse track heads",
    r"\.num_batches_tracked$": "counters of BatchNorm",
    r"embeddings\.position_(embeddings\.weight|ids)$": "learned positions, which rotary encoders do not read",
    r"rotary_embeddings\.inv_freq$": "rotary frequencies, computed here",
    r"(^|\.)contact_head\.": "contact prediction head",
    r"(^|\.)lm_head\.": "masked language head",
    r"(^|\.)pooler\.": "pooler of a sentence classifier",
}


@dataclass(frozen=True, kw_only=True)
class KeyMapFile:
    """A user's corrections to the tables, read from YAML or JSON.

    `rename`: regular expressions on the file's names → replacement, before anything else. `prefixes`: dna, rna,
    protein or join → what stands before that network's names. `tensors`: our full name, with {} for numbers → theirs
    (text, or a list joined along the rows). `unused`: patterns → reason.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    prefixes: Mapping[str, str] = field(default_factory=dict)
    tensors: Mapping[str, Theirs] = field(default_factory=dict)
    unused: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None

    @classmethod
    def read(cls, path: Path | None) -> KeyMapFile:
        """Read a key map; None gives an empty one. Unknown keys and bad patterns raise `InputError`."""
        if path is None:
            return cls()
        import yaml

        try:
            content = path.read_bytes()
            data = json.loads(content) if path.suffix == ".json" else yaml.safe_load(content)
            return cls(**_checked(data), sha256=hashlib.sha256(content).hexdigest())
        except (OSError, ValueError, TypeError, re.error, yaml.YAMLError) as error:
            raise InputError(
                where=str(path),
                expected="a key map: objects rename, prefixes, tensors, unused (docs/weights.md)",
                found=" ".join(str(error).split()),
                fix="Correct the file.",
            ) from None


def _checked(data: Any) -> dict[str, Any]:
    """The four objects of a key map, or ValueError, TypeError or re.error."""
    sections = {"rename", "prefixes", "tensors", "unused"}
    if not isinstance(data, dict) or not all(isinstance(value, dict) for value in data.values()):
        raise TypeError("something else than objects by name")
    if data.keys() - sections:
        raise ValueError(f"unknown section {', '.join(map(str, sorted(data.keys() - sections, key=str)))}")
    if set(data.get("prefixes", {})) - {"dna", "rna", "protein", "join"}:
        raise ValueError("a prefix of something else than dna, rna, protein, join")
    for pattern, text in (*data.get("rename", {}).items(), *data.get("unused", {}).items()):
        # Tried once, so that a reference to a group that does not exist is found here.
        re.compile(pattern).sub(text, "")
    tensors = {}
    for ours, theirs in data.get("tensors", {}).items():
        names = tuple(theirs) if isinstance(theirs, list) else (theirs,)
        if not names or not all(isinstance(name, str) for name in (ours, *names)):
            raise TypeError(f"tensors: {ours!r} is not mapped to a name or a list of names")
        tensors[ours] = names
    return {**data, "tensors": tensors}


_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


def template_of(name: str) -> tuple[str, tuple[str, ...]]:
    """A name with its numbers replaced by {}, and the numbers: layers.3.norm → layers.{}.norm, ("3",)."""
    return _NUMBER.sub("{}", name), tuple(_NUMBER.findall(name))


def sources_of(name: str, table: Table) -> tuple[str, ...] | None:
    """Names in the file that make up our tensor `name`; None without a rule."""
    template, numbers = template_of(name)
    module, _, leaf = template.rpartition(".")
    for key, ending in ((template, ""), (module, f".{leaf}")):
        if key in table.names:
            theirs = table.names[key]
            parts = theirs if isinstance(theirs, tuple) else (theirs,)
            return tuple((part + ending).format(*numbers) for part in parts)
    return None
