"""The leakage audit: looks at the finished splits alone, by means of its own, for what one shares with another."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from components.extract_sequences.families import similar_proteins
from components.extract_sequences.transcripts import Transcript
from components.sections import SplitParams
from model.errors import InputError

_EXAMPLES = 5
_TOLD = 3


def audit(
    transcripts: Sequence[Transcript],
    splits: Sequence[str],
    params: SplitParams,
    families: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What splits share, by kind: `count`, the first `examples`, and whether that `blocks`.

    Genes, RNAs and proteins in two splits always block, and so do families of a user's table (`families`, by gene);
    overlapping windows where the parameters promise none; similar proteins where the policy goes by them. What blocks
    and is found raises `InputError`.
    """
    given = families or {}
    found = {
        "genes": _shared(splits, (item.gene_id for item in transcripts)),
        "families": _shared(splits, (given.get(item.gene_id) for item in transcripts), transcripts),
        "identical_rnas": _shared(splits, (_digest(item.rna) for item in transcripts), transcripts),
        "identical_proteins": _shared(
            splits, (_digest(item.protein) if item.protein else None for item in transcripts), transcripts
        ),
        "overlapping_windows": _overlapping(transcripts, splits),
        "similar_proteins": _similar(transcripts, splits, params.min_shared_kmers),
    }
    blocking = {"genes", "families", "identical_rnas", "identical_proteins"}
    if params.exclude_overlapping_windows:
        blocking.add("overlapping_windows")
    if params.policy != "gene" and not given:
        blocking.add("similar_proteins")
    for kind, examples in found.items():
        if kind in blocking and examples:
            raise InputError(
                where="leakage audit of the splits",
                expected=f"no {kind.replace('_', ' ')} shared between splits",
                found=f"{len(examples):,}, for example {'; '.join(examples[:_TOLD])}",
                fix="Choose another extract.split.policy, or correct the table of gene families.",
            )
    return {
        kind: {"count": len(examples), "examples": examples[:_EXAMPLES], "blocks": kind in blocking}
        for kind, examples in found.items()
    }


def _shared(
    splits: Sequence[str], keys: Iterable[Hashable | None], transcripts: Sequence[Transcript] | None = None
) -> list[str]:
    """Keys that stand in more than one split, told by transcripts where those are given."""
    first: dict[Hashable, int] = {}
    shared: dict[Hashable, str] = {}
    for index, (split, key) in enumerate(zip(splits, keys, strict=True)):
        if key is None:
            continue
        before = first.setdefault(key, index)
        if splits[before] != split and key not in shared:
            one, other = (
                (transcripts[place].transcript_id for place in (before, index)) if transcripts else (str(key), str(key))
            )
            shared[key] = f"{one} ({splits[before]}) and {other} ({split})"
    return list(shared.values())


def _overlapping(transcripts: Sequence[Transcript], splits: Sequence[str]) -> list[str]:
    """Transcripts whose window overlaps one of another split that starts before: a sweep along each contig."""
    order = sorted(range(len(transcripts)), key=lambda i: (transcripts[i].contig, transcripts[i].window_start))
    furthest: dict[str, int] = {}  # by split, the transcript whose window ends last so far
    contig = ""
    found = []
    for index in order:
        item = transcripts[index]
        if item.contig != contig:
            contig, furthest = item.contig, {}
        for split, before in furthest.items():
            if split != splits[index] and transcripts[before].window_end > item.window_start:
                found.append(
                    f"{transcripts[before].transcript_id} ({split}) and {item.transcript_id} ({splits[index]})"
                )
                break
        last = furthest.get(splits[index])
        if last is None or transcripts[last].window_end < item.window_end:
            furthest[splits[index]] = index
    return found


def _similar(transcripts: Sequence[Transcript], splits: Sequence[str], min_shared: float) -> list[str]:
    """Pairs of genes of different splits whose proteins are alike."""
    split_of: Mapping[str, str] = {item.gene_id: split for item, split in zip(transcripts, splits, strict=True)}
    links = similar_proteins(transcripts, min_shared)
    return [
        f"{one} ({split_of[one]}) and {other} ({split_of[other]})"
        for one, other in links.named()
        if split_of[one] != split_of[other]
    ]


def _digest(sequence: str) -> bytes:
    return hashlib.blake2b(sequence.encode("ascii"), digest_size=16).digest()
