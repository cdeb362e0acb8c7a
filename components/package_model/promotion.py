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


def register(bento: Artifact, metrics: Mapping[str, Any], policy: PackageParams) -> Record | None:
    """Register a bento artifact, promote it by `policy`; returns the promotion or None. Twice is harmless."""
    described = json.loads((bento.payload / "bento.json").read_text(encoding="utf-8"))
    scores = metrics["model"]
    record = {
        **described,
        "payload_digest": bento.digest,
        "inputs": bento.manifest["inputs"],
        "metrics": {name: figure["value"] for name, figure in scores.items() if name != "per_tissue"},
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


def reason_to_promote(
    challenger: Mapping[str, Any], champion: Mapping[str, Any] | None, policy: PackageParams
) -> str | None:
    """Why the challenger's version record should replace the champion's, None where it should not.

    Figures are compared on the same dataset only: on another one they say nothing about which model is better.
    """
    if champion is None:
        return "the first version"
    if policy.promote == "always":
        return "params.package.promote is always"
    if challenger["model_digest"] == champion["model_digest"]:
        return "the champion's own model, packaged anew"
    if challenger["inputs"]["transcripts"] != champion["inputs"]["transcripts"]:
        return None
    name = policy.promote_metric
    new, old = challenger["metrics"][name], champion["metrics"][name]
    if new is None or old is None or not new > old + policy.promote_margin:
        return None
    return f"{name} {new:.4f} against {old:.4f} on the same dataset"
