"""The model card that lies beside weights: Markdown with a YAML head, as Hugging Face reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.config import IsoFormerConfig
from model.errors import InputError
from model.provenance import LoadReport

CARD_FILE = "README.md"
_FENCE = "---\n"


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a card tells besides configuration and origins.

    `data_version`: of the dataset that the model was trained on. `metrics`: figures by name, on its test split.
    `simulated`: whether the data are simulated. `notes`: sentences of the limits section.
    """

    data_version: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    simulated: bool = False
    notes: Sequence[str] = ()


def write_card(folder: Path, config: IsoFormerConfig, origins: Mapping[str, LoadReport], facts: CardFacts) -> None:
    """Write README.md; equal arguments give equal bytes."""
    (folder / CARD_FILE).write_text(card_text(config, origins, facts), encoding="utf-8")


def card_text(config: IsoFormerConfig, origins: Mapping[str, LoadReport], facts: CardFacts) -> str:
    """The card as Markdown with a YAML head, from which `read_origins` reads back."""
    import yaml

    licences = sorted({report.licence for report in origins.values()})
    head: dict[str, Any] = {
        "library_name": "isoformer",
        "license": "apache-2.0" if not licences else "other",
        "tags": ["biology", "genomics", "transcript-isoform-expression", *(["simulated-data"] * facts.simulated)],
        "isoformer": {
            "name": config.name,
            "data_version": facts.data_version,
            "simulated": facts.simulated,
            "metrics": {name: float(value) for name, value in sorted(facts.metrics.items())},
            "initial_weights": [origins[part].to_dict() for part in sorted(origins)],
        },
    }
    if licences:
        head["license_name"] = "of-the-initial-weights"
    lines = [
        f"# {config.name}" + (" (simulated data)" if facts.simulated else ""),
        "",
        f"Expression (log1p TPM) of one transcript isoform in {len(config.tissues)} tissues from "
        f"{', '.join(config.modalities)}; architecture of arXiv 2406.14150.",
        "",
        "## Data",
        "",
        f"Dataset version: {facts.data_version or 'not trained here'}.",
        *(["", "The data are **simulated**: the figures say nothing about biology."] * facts.simulated),
        "",
        "## Metrics",
        "",
        *(
            ["| figure | value |", "|---|---|", *(f"| {k} | {v:.4g} |" for k, v in sorted(facts.metrics.items()))]
            if facts.metrics
            else ["None recorded here."]
        ),
        "",
        "## Weights it grew from",
        "",
        *([_origin_lines(origins[part]) for part in sorted(origins)] or ["None: initialised at random."]),
        "",
        "## Licences",
        "",
        *([f"- {licence}" for licence in licences] or ["Apache-2.0."]),
        *(["", *facts.notes] if facts.notes else []),
        "",
    ]
    return _FENCE + yaml.safe_dump(head, sort_keys=False, allow_unicode=True) + _FENCE + "\n" + "\n".join(lines)


def _origin_lines(report: LoadReport) -> str:
    lines = [f"- **{report.part}**: {report.layout} layout, {report.tensors} tensors, {report.parameters:,} values."]
    lines += [f"  - `{name}`, sha256 `{digest}`" for name, digest in sorted(report.files.items())]
    if not report.verified:
        lines.append("  - The names of this layout are reconstructed: **unverified** against the published file.")
    if report.key_map:
        lines.append(f"  - names corrected by a key map, sha256 `{report.key_map}`")
    if report.new:
        lines.append(f"  - **new head**: {len(report.new)} tensors started at random ({', '.join(report.new)})")
    return "\n".join(lines + [f"  - {note}" for note in report.notes])


def read_origins(folder: Path) -> dict[str, LoadReport]:
    """The weights that the model in `folder` grew from, by part; empty where there is no card."""
    head = read_head(folder)
    path = str(folder / CARD_FILE)
    entries = head.get("isoformer", {}).get("initial_weights", []) if isinstance(head.get("isoformer"), dict) else []
    reports = [LoadReport.from_dict(entry, path) for entry in entries]
    return {report.part: report for report in reports}


def read_head(folder: Path) -> dict[str, Any]:
    """The YAML head of a folder's card; empty where there is none."""
    import yaml

    path = folder / CARD_FILE
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8")
    if not text.startswith(_FENCE) or _FENCE not in text[len(_FENCE) :]:
        return {}
    try:
        head = yaml.safe_load(text[len(_FENCE) :].split(_FENCE, 1)[0])
    except yaml.YAMLError as error:
        raise InputError(
            where=str(path), expected="a YAML head", found=" ".join(str(error).split()), fix="Restore the model card."
        ) from None
    return head if isinstance(head, dict) else {}
