"""The paper's experiments as data: each suite is a list of configurations, each a change of the parameters."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from model.config import MODALITIES
from model.errors import InputError
from model.presets import preset

AGGREGATIONS = {
    "cross_attention": "Cross-attention",
    "perceiver_resampler": "Perceiver Resampler",
    "resampler_linear": "Resampler + linear",
    "c_abstractor": "C-Abstractor",
    "concatenation": "Concatenation",
}
_NAMES = {"dna": "DNA", "rna": "RNA", "protein": "protein"}


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One row of a suite's table.

    `changes` are sections of the parameters, nested. `pretrained` names the towers that start from given checkpoints.
    """

    key: str
    label: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    pretrained: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One question of the paper.

    `reference` is the configuration that the others are compared with, tissue by tissue; None where its answer is
    one row.
    """

    key: str
    title: str
    question: str
    configurations: tuple[Configuration, ...]
    reference: str | None

    def restricted(self, keys: Collection[str]) -> Suite:
        """The suite with some of its configurations, in its order; raises `InputError` for one that it does not have.

        Where the reference is left out, the first that is kept takes its place.
        """
        known = [item.key for item in self.configurations]
        for key in keys:
            if key not in known:
                raise InputError(
                    where="--only", expected=f"one of {', '.join(known)}", found=repr(key), fix="Correct the name."
                )
        kept = tuple(item for item in self.configurations if item.key in keys)
        reference = self.reference if self.reference in keys else kept[0].key
        return replace(self, configurations=kept, reference=None if self.reference is None else reference)


def subset_label(subset: tuple[str, ...]) -> str:
    """How tables name a set of modalities, e.g. DNA + RNA."""
    return " + ".join(_NAMES[name] for name in subset)


def _modalities() -> Suite:
    subsets = [subset for size in range(1, len(MODALITIES) + 1) for subset in itertools.combinations(MODALITIES, size)]
    return Suite(
        key="modalities",
        title="Modalities",
        question="Does each modality help?",
        configurations=tuple(
            Configuration(
                key="+".join(subset), label=subset_label(subset), changes={"model": {"modalities": list(subset)}}
            )
            for subset in subsets
        ),
        reference="dna",
    )


def _dna_encoder(network: str) -> Suite:
    """`network` is a named size with either DNA encoder; its sibling has the other one."""
    names = {"enformer": network.removesuffix("-nt"), "nucleotide-transformer": f"{network.removesuffix('-nt')}-nt"}
    labels = {"enformer": "Enformer", "nucleotide-transformer": "Nucleotide Transformer v2"}
    windows = {key: preset(name).window_bp for key, name in names.items()}
    same_window = len(set(windows.values())) == 1
    return Suite(
        key="dna-encoder",
        title="DNA encoder",
        question="Which DNA encoder: Enformer (supervised) or Nucleotide Transformer v2 (self-supervised)?",
        configurations=tuple(
            Configuration(
                key=key,
                label=labels[key],
                # As published they read windows of other lengths, each from a data set of its own.
                changes={"model": {"preset": name}} | ({} if same_window else {"extract": {"window_bp": windows[key]}}),
            )
            for key, name in names.items()
        ),
        reference="enformer",
    )


def _aggregation() -> Suite:
    return Suite(
        key="aggregation",
        title="Aggregation",
        question="How should the modalities be joined?",
        configurations=tuple(
            Configuration(key=kind, label=label, changes={"model": {"overrides": {"fusion": {"kind": kind}}}})
            for kind, label in AGGREGATIONS.items()
        ),
        reference="cross_attention",
    )


def _pretraining() -> Suite:
    patterns = [
        subset for size in range(len(MODALITIES), -1, -1) for subset in itertools.combinations(MODALITIES, size)
    ]
    return Suite(
        key="pre-training",
        title="Pre-training",
        question="Does pre-training of each encoder transfer, within and between modalities?",
        configurations=tuple(
            Configuration(
                key="+".join(towers) or "none",
                label=f"pre-trained: {subset_label(towers) if towers else 'none (all from random)'}",
                pretrained=towers,
            )
            for towers in patterns
        ),
        reference="none",
    )


def _targets() -> Suite:
    choices = {"dna": ("dna",), "all": MODALITIES}
    labels = {"dna": "DNA-centred", "all": "all three"}
    return Suite(
        key="targets",
        title="Fusion targets",
        question="Is the DNA-centred branch enough, or do all three modalities have to be enriched?",
        configurations=tuple(
            Configuration(
                key=key,
                label=labels[key],
                changes={"model": {"overrides": {"fusion": {"targets": list(targets)}}}},
            )
            for key, targets in choices.items()
        ),
        reference="dna",
    )


def _seeds() -> Suite:
    return Suite(
        key="seeds",
        title="Seeds",
        question="How much does a result change from seed to seed?",
        configurations=(Configuration(key="base", label="as configured"),),
        reference=None,
    )


SUITES = ("modalities", "dna-encoder", "aggregation", "pre-training", "targets", "seeds")


def suite_of(name: str, *, network: str) -> Suite:
    """A suite by its name for a named network (model.preset); an unknown name raises `InputError`."""
    if name == "dna-encoder":
        return _dna_encoder(network)
    makers = {
        "modalities": _modalities,
        "aggregation": _aggregation,
        "pre-training": _pretraining,
        "targets": _targets,
        "seeds": _seeds,
    }
    if name not in makers:
        raise InputError(
            where="--suite", expected=f"one of {', '.join(SUITES)}", found=repr(name), fix="Correct the name."
        )
    return makers[name]()
