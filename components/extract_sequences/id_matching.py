"""Transcripts of the annotation found in the expression table, whose ids may carry another version or suffix."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import InputError

PAR_Y = "_PAR_Y"
_SUFFIX = re.compile(r"(\.\d+)_\d+$")
_VERSION = re.compile(r"\.\d+(_\d+)?$")


@dataclass(frozen=True)
class Matches:
    """`row_of`: expression row by annotated transcript (its number), `policy_of`: how it was found.

    `counts`: matched transcripts by policy, and what of either side was not matched.
    """

    row_of: dict[int, int]
    policy_of: dict[int, str]
    counts: dict[str, int]


def match_ids(annotated: Sequence[str], measured: Sequence[str], policies: Sequence[str], *, where: Path) -> Matches:
    """Match by each policy in turn what the ones before left over: `exact`, `without_suffix`, `versionless`.

    `without_suffix` takes ENST00000298649.7 for ENST00000298649.7_2 (lifted annotations), `versionless` drops
    versions; both keep the copies on the Y pseudoautosomal regions apart, written `_PAR_Y` or, before 2016, ENSTR.
    Raises `InputError` where one transcript could be two, or no transcript is found.
    """
    row_of: dict[int, int] = {}
    policy_of: dict[int, str] = {}
    counts: dict[str, int] = {}
    free = dict(enumerate(measured))
    left = dict(enumerate(annotated))
    for policy in policies:
        wanted = _by_key(left, policy)
        offered = _by_key(free, policy)
        before = len(row_of)
        for key in wanted.keys() & offered.keys():
            numbers, rows = wanted[key], offered[key]
            if len(numbers) > 1 or len(rows) > 1:
                names = [annotated[number] for number in numbers], [measured[row] for row in rows]
                raise InputError(
                    where=str(where),
                    expected=f"one transcript for {key!r} (matched {policy})",
                    found=f"ambiguous ids: {', '.join(names[0])} annotated, {', '.join(names[1])} measured",
                    fix="Remove all but one, or change extract.id_matching in params.yaml.",
                )
            row_of[numbers[0]] = rows[0]
            policy_of[numbers[0]] = policy
            del left[numbers[0]], free[rows[0]]
        counts[policy] = len(row_of) - before
    if not row_of:
        raise InputError(
            where=str(where),
            expected="transcripts in common with the annotation",
            found=f"none (for example {measured[0]!r} here, {annotated[0]!r} annotated)",
            fix="Give an annotation and an expression table of the same transcripts.",
        )
    counts["annotated_only"] = len(left)
    counts["expression_only"] = len(free)
    return Matches(row_of, policy_of, counts)


def key_of(name: str, policy: str) -> str:
    """The id under a policy; ids with equal keys match."""
    if policy == "exact":
        return name
    on_y = name.endswith(PAR_Y)
    name = name.removesuffix(PAR_Y)
    if name.startswith("ENSTR"):
        name, on_y = "ENST0" + name[5:], True
    name = _SUFFIX.sub(r"\1", name) if policy == "without_suffix" else _VERSION.sub("", name)
    return name + PAR_Y if on_y else name


def _by_key(names: Mapping[int, str], policy: str) -> dict[str, list[int]]:
    keyed: dict[str, list[int]] = {}
    for number, name in names.items():
        keyed.setdefault(key_of(name, policy), []).append(number)
    return keyed
