"""What a checkpoint belongs to, and how that differs from the run that finds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.errors import InputError

LAYOUT = ("processes", "sharding")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Every value that differs between two nested mappings, as `key: before → now`."""
    old, new = _flat(before), _flat(now)
    return [
        f"{key}: {old.get(key, 'absent')} → {new.get(key, 'absent')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def check_identity(
    before: Mapping[str, Any], now: Mapping[str, Any], *, where: str, allow_reshard: bool
) -> dict[str, Any] | None:
    """Raise `InputError` where a checkpoint of run `before` cannot be continued by run `now`.

    Other data, parameters or weights never can; another number of processes or sharding can if `allow_reshard`.
    Returns what was resharded, None if nothing. The environment (library versions, threads) changes rounding at most.
    """
    changed = differences(_work(before), _work(now))
    if changed:
        raise InputError(
            where=where,
            expected="a checkpoint of this dataset and these parameters",
            found="one of others: " + "; ".join(changed),
            fix="Restore what changed, or name another --work to start anew.",
        )
    layout = differences(*({key: run[key] for key in LAYOUT} for run in (before, now)))
    if layout and not allow_reshard:
        raise InputError(
            where=where,
            expected="a checkpoint of as many processes and the same sharding",
            found="; ".join(layout),
            fix="Restore them, or go on with --allow-reshard: exact but for rounding and dropout, and recorded.",
        )
    return {"from": {k: before[k] for k in LAYOUT}, "to": {k: now[k] for k in LAYOUT}} if layout else None


def _work(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in identity.items() if key not in (*LAYOUT, "environment")}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
