"""Every knob of the system, typed and strict: one tree, resolved once, hashed, stored with every artifact."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ValidationError

from components.sections import (
    DataParams,
    EvaluateParams,
    ExtractParams,
    FabricateParams,
    ModelParams,
    MonitorParams,
    PackageParams,
    PretrainParams,
    Section,
    ValidateParams,
)
from components.train_sections import RuntimeParams, TrainParams
from model.errors import InputError

# What says where and how fast, not what: outside every digest.
UNDIGESTED_SECTIONS = ("data", "runtime")
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


class Params(Section):
    """The whole tree, one section per step."""

    schema_version: Literal[1] = 1
    data: DataParams = DataParams()
    runtime: RuntimeParams = RuntimeParams()
    fabricate: FabricateParams = FabricateParams()
    validate_data: ValidateParams = ValidateParams()
    extract: ExtractParams = ExtractParams()
    model: ModelParams = ModelParams()
    train: TrainParams = TrainParams()
    pretrain: PretrainParams = PretrainParams()
    evaluate: EvaluateParams = EvaluateParams()
    package: PackageParams = PackageParams()
    monitor: MonitorParams = MonitorParams()

    def config(self, *sections: str) -> dict[str, Any]:
        """The named sections as JSON data: what a step's digest covers."""
        unknown = set(sections) & set(UNDIGESTED_SECTIONS)
        if unknown:
            raise ValueError(f"{unknown} must stay outside every digest")
        return {name: getattr(self, name).model_dump(mode="json") for name in sections}

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back to an equal tree."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)

    def changed(self, changes: Mapping[str, Any]) -> Params:
        """The tree with other values in it, sections nested as there; raises `InputError` like `load_params`."""
        return _validated(_merged(self.model_dump(mode="json"), changes), "changes")

    @classmethod
    def from_json(cls, text: str) -> Params:
        """Read `to_json`."""
        return _validated(json.loads(text), "params")


def load_params(path: Path | None, *, preset: str | None = None, overrides: Sequence[str] = ()) -> Params:
    """Resolve the tree: defaults < `path` < named preset < `key.sub=value` overrides (values are YAML).

    An unknown key, preset or a value of the wrong type raises `InputError` naming it and the nearest known one.
    """
    tree: dict[str, Any] = {}
    where = "params"
    if path is not None:
        where = str(path)
        tree = _read_yaml(path)
    if preset is not None:
        tree = _merged(tree, _preset(preset))
    for override in overrides:
        tree = _merged(tree, _parse_override(override))
    return _validated(tree, where)


def preset_names() -> list[str]:
    """The presets that come with the project."""
    folder = resources.files("components") / "presets"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def _preset(name: str) -> dict[str, Any]:
    if name not in preset_names():
        raise InputError(
            where="--preset", expected=f"one of {', '.join(preset_names())}", found=repr(name), fix="Correct the name."
        )
    text = (resources.files("components") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            where=str(path), expected="a parameter file", found="no such file", fix="Give --params PATH."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(where=str(path), expected="YAML", found=reason, fix="Correct the syntax.") from None
    if not isinstance(tree, dict | None):
        raise InputError(where=str(path), expected="sections", found=type(tree).__name__, fix="See params.yaml.")
    return tree or {}


def _parse_override(text: str) -> dict[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise InputError(where="--set", expected="section.key=value", found=repr(text), fix="For example train.seed=3.")
    tree: Any = yaml.safe_load(value)
    if isinstance(tree, str) and _FLOAT.fullmatch(tree):
        tree = float(tree)  # YAML 1.1 reads 1e-3 as text
    for part in reversed(key.strip().split(".")):
        tree = {part: tree}
    return dict(tree)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def _validated(tree: Mapping[str, Any], where: str) -> Params:
    try:
        # Strict in Python mode refuses nothing that JSON or YAML can say but ints for floats, which people write.
        return Params.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        names = [str(part) for part in first["loc"]]
        key = ".".join(names)
        if first["type"] == "extra_forbidden":
            known = _known_keys(names[:-1])
            near = difflib.get_close_matches(names[-1], known, 1)
            raise InputError(
                where=f"{where}: {key}",
                expected="a known parameter",
                found="an unknown one",
                fix=f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(known)}.",
            ) from None
        message = first["msg"][0].lower() + first["msg"][1:]
        raise InputError(
            where=f"{where}: {key}", expected=message, found=repr(first["input"]), fix="Correct the value."
        ) from None


def _known_keys(parents: Sequence[str]) -> list[str]:
    section: type[BaseModel] = Params
    for name in parents:
        annotation = section.model_fields[name].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return sorted(section.model_fields)
