"""Registering a packaged model, and whether it becomes champion."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.artifacts import Artifact
from components.package_model.bento import PACKAGE
from components.package_model.signing import sign
from components.registry import Record, Registry
from components.sections import PackageParams


def register(
    bento: Artifact, metrics: Mapping[str, Any], verdict: Mapping[str, Any], policy: PackageParams
) -> Record | None:
    """Register a bento artifact, promote it by `policy`; returns the promotion or None. Twice is harmless.

    `metrics` and `verdict` are those of the evaluation that blessed the model.
    """
    described = json.loads((bento.payload / "bento.json").read_text(encoding="utf-8"))
    scores = metrics["model"]
    record = {
        **described,
        "payload_digest": bento.digest,
        "inputs": bento.manifest["inputs"],
        "metrics": {name: figure["value"] for name, figure in scores.items() if name != "per_tissue"},
        "compared_with": _comparison(verdict),
    }
    registry = Registry(policy.registry)
    signature = None
    if policy.signing_key:
        signature = sign(bento.payload / "bento" / "src" / PACKAGE, Path(policy.signing_key))
    version = registry.register(record, bento.payload, signature=signature)
    promotion = None
    if policy.promote != "never":
        promotion = registry.promote_if(version, lambda champion: reason_to_promote(record, champion, policy))
    outcome = f"promoted: {promotion['reason']}" if promotion else "the champion stays"
    print(f"registry {policy.registry}: version {version}; {outcome}", file=sys.stderr, flush=True)
    return promotion


def _comparison(verdict: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the evaluation found about the champion of its time; None where there was none."""
    champion = verdict.get("champion")
    if champion is None:
        return None
    return {name: champion[name] for name in ("version", "model_digest", "better", "r2_gained")}


def reason_to_promote(
    challenger: Mapping[str, Any], champion: Mapping[str, Any] | None, policy: PackageParams
) -> str | None:
    """Why the challenger's version record should replace the champion's, None where it should not.

    Two figures that stand beside each other in a registry say nothing: the challenger's evaluation compared both on the
    same genes, and only what it found about this very champion counts.
    """
    if champion is None:
        return "the first version"
    if policy.promote == "always":
        return "params.package.promote is always"
    if challenger["model_digest"] == champion["model_digest"]:
        return "the champion's own model, packaged anew"
    compared = challenger["compared_with"]
    if compared is None or compared["model_digest"] != champion["model_digest"] or compared["better"] is not True:
        return None
    gain = compared["r2_gained"]
    return (
        f"R² {gain['value']:+.4f} over champion {champion['version']} on the same genes "
        f"(interval {gain['low']:+.4f} to {gain['high']:+.4f})"
    )
