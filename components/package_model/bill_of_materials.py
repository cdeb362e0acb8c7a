"""The bill of materials of a packaged model, as CycloneDX 1.6 JSON: the model, its data set, and every distribution.

It holds no serial number and no time, so that equal packages have equal bills.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

SPEC_VERSION = "1.6"
# A licence text in the field of its name helps nobody; longer ones are such texts.
_NAME_LENGTH = 80
_SPDX = re.compile(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*")


def bill_of_materials(pins: Iterable[str], about: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """CycloneDX of `pins` (name==version), of the model that `about` describes, and its `files` (name → sha256)."""
    reference = f"isoformer-model@{about['version']}"
    libraries = [_library(*pin.split("==")) for pin in sorted(pins)]
    model = {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "name": str(about["name"]),
        "version": str(about["version"]),
        "hashes": [{"alg": "SHA-256", "content": str(about["model_digest"])}],
        "properties": [
            {"name": "isoformer:dataset_version", "value": str(about["dataset_version"])},
            {"name": "isoformer:simulated", "value": str(about["simulated"]).lower()},
            {"name": "isoformer:code_digest", "value": str(about["code_digest"])},
        ],
    }
    parts = [
        {"type": "file", "bom-ref": name, "name": name, "hashes": [{"alg": "SHA-256", "content": digest}]}
        for name, digest in sorted(files.items())
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "version": 1,
        "metadata": {"component": model},
        "components": [*libraries, *parts],
        "dependencies": [
            {"ref": reference, "dependsOn": [entry["bom-ref"] for entry in (*libraries, *parts)]},
        ],
    }


def _library(name: str, version: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{version}"
    entry: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    licence = _licence(name)
    if licence:
        entry["licenses"] = [{"expression": licence} if _SPDX.fullmatch(licence) else {"license": {"name": licence}}]
    return entry


def _licence(name: str) -> str:
    """What a distribution says of its licence: the SPDX expression, the short name, or the classifiers."""
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        return ""
    expression, text = metadata.get("License-Expression"), metadata.get("License")
    if expression:
        return str(expression)
    classified = [
        str(line).rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or [] if "License ::" in str(line)
    ]
    if classified:
        return "; ".join(classified)
    return str(text).strip() if text and len(str(text)) <= _NAME_LENGTH else ""
