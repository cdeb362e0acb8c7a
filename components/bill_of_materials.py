"""A CycloneDX bill of materials of the Python environment that this runs in: every distribution, version and licence.

`python -m components.bill_of_materials OUT.json`. Equal environments give equal bytes: no clock, no random number.
Format: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

APPLICATION = "isoformer"


def bill_of_materials() -> dict[str, Any]:
    """The bill as a JSON document; components are sorted by name."""
    found = {_name(item): item for item in distributions() if item.metadata["Name"]}
    own = found.pop(APPLICATION, None)
    application = {"type": "application", "name": APPLICATION, "bom-ref": APPLICATION}
    if own is not None:
        application["version"] = own.version
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": application},
        "components": [_component(name, found[name]) for name in sorted(found)],
    }


def _component(name: str, item: Distribution) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{item.version}"
    component: dict[str, Any] = {
        "type": "library",
        "name": name,
        "version": item.version,
        "purl": purl,
        "bom-ref": purl,
    }
    licence = _licence(item)
    if licence:
        component["licenses"] = [licence]
    return component


def _licence(item: Distribution) -> dict[str, Any] | None:
    fields = item.metadata.json  # names in lower case; "classifier" is a list
    if expression := fields.get("license_expression"):
        return {"expression": expression}
    classifiers = [
        text.rpartition(" :: ")[2] for text in fields.get("classifier", ()) if text.startswith("License :: ")
    ]
    # A licence field may hold the whole text of the licence.
    name = ", ".join(sorted(classifiers)) or str(fields.get("license", "")).strip().partition("\n")[0][:100]
    return {"license": {"name": name}} if name else None


def _name(item: Distribution) -> str:
    return re.sub(r"[-_.]+", "-", str(item.metadata["Name"])).lower()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(bill_of_materials(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
