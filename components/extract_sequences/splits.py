"""Dividing transcripts into train, valid and test so that nothing of one is seen in another."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from components.extract_sequences.transcripts import Transcript
from components.params import SplitParams
from model.errors import InputError

TRAIN, VALID, TEST = "train", "valid", "test"
SPLITS = (TRAIN, VALID, TEST)


@dataclass
class Division:
    """`split` by transcript, None where it is excluded; `excluded` counts those by reason."""

    split: list[str | None]
    excluded: Counter[str] = field(default_factory=Counter)


def divide(transcripts: Sequence[Transcript], params: SplitParams) -> Division:
    """Give each transcript its split; no gene is in two, and none of the splits is empty.

    Raises `InputError` where the genes or contigs do not suffice for three splits.
    """
    families = gene_families(transcripts)
    if params.policy == "chromosome":
        division = _by_chromosome(transcripts, families, params)
    else:
        division = Division(_by_hash(families, params))
    if params.exclude_overlapping_windows:
        _exclude_overlaps(transcripts, division)
    for name in SPLITS:
        if name not in division.split:
            raise InputError(
                where="extract.split",
                expected=f"genes for the splits {', '.join(SPLITS)}",
                found=f"none left for {name!r} of {len(set(families))} independent groups of genes",
                fix="Give more genes or contigs, or change the section extract.split of params.yaml.",
            )
    return division


def gene_families(transcripts: Sequence[Transcript]) -> list[str]:
    """For each transcript the name of its group: genes that share an identical RNA or protein are one group."""
    sets = _DisjointSets()
    for transcript in transcripts:
        sets.join(("gene", transcript.gene_id), ("rna", _digest(transcript.rna)))
        if transcript.protein:
            sets.join(("gene", transcript.gene_id), ("protein", _digest(transcript.protein)))
    return [sets.find(("gene", transcript.gene_id))[1] for transcript in transcripts]


def _digest(sequence: str) -> str:
    return hashlib.blake2b(sequence.encode("ascii"), digest_size=16).hexdigest()


class _DisjointSets:
    """Union-find; the representative of a set is its first gene by name, whatever the order of joining."""

    def __init__(self) -> None:
        self._parent: dict[tuple[str, str], tuple[str, str]] = {}

    def find(self, item: tuple[str, str]) -> tuple[str, str]:
        root = item
        while (above := self._parent.setdefault(root, root)) != root:
            root = above
        while item != root:
            self._parent[item], item = root, self._parent[item]
        return root

    def join(self, one: tuple[str, str], other: tuple[str, str]) -> None:
        # "gene" sorts before "protein" and "rna", so that a gene represents the set.
        low, high = sorted((self.find(one), self.find(other)))
        self._parent[high] = low


def _by_hash(families: Sequence[str], params: SplitParams) -> list[str | None]:
    """A group's place in [0, 1) depends on the seed and its name alone, so that new genes do not move old ones."""
    place = {family: _place(family, params.seed) for family in set(families)}
    edges = {TEST: (0.0, params.test_share), VALID: (params.test_share, params.test_share + params.valid_share)}
    split_of = {}
    for family, value in place.items():
        split_of[family] = next((name for name, (low, high) in edges.items() if low <= value < high), TRAIN)
    # With a handful of genes a small share may catch none: the nearest gives way.
    for name, (low, high) in edges.items():
        if name not in split_of.values() and len(place) >= len(SPLITS):
            candidates = [family for family, split in split_of.items() if split == TRAIN]
            nearest = min(candidates, key=lambda family: (abs(place[family] - (low + high) / 2), family), default=None)
            if nearest is not None:
                split_of[nearest] = name
    return [split_of[family] for family in families]


def _place(family: str, seed: int) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed}:{family}".encode()).digest()[:7], "big") / 2**56


def _by_chromosome(transcripts: Sequence[Transcript], families: Sequence[str], params: SplitParams) -> Division:
    """Splits by contig; a transcript whose group of genes reaches a more held-out split is excluded from its own."""
    contigs = {transcript.contig for transcript in transcripts}
    for name in (*params.valid_contigs, *params.test_contigs):
        if name not in contigs:
            raise InputError(
                where="extract.split",
                expected=f"contigs with transcripts ({', '.join(sorted(contigs)[:6])} …)",
                found=repr(name),
                fix="Correct extract.split.valid_contigs or test_contigs in params.yaml.",
            )
    own = [
        TEST if item.contig in params.test_contigs else VALID if item.contig in params.valid_contigs else TRAIN
        for item in transcripts
    ]
    rank = {name: number for number, name in enumerate(SPLITS)}
    highest: dict[str, int] = {}
    for family, split in zip(families, own, strict=True):
        highest[family] = max(highest.get(family, 0), rank[split])
    division = Division([])
    for family, split in zip(families, own, strict=True):
        shared = rank[split] < highest[family]
        division.split.append(None if shared else split)
        division.excluded["family_in_other_split"] += shared
    return division


def _exclude_overlaps(transcripts: Sequence[Transcript], division: Division) -> None:
    """Exclude from train and valid what overlaps a test window, and from train what overlaps a valid one."""
    for holder, losers in ((TEST, (TRAIN, VALID)), (VALID, (TRAIN,))):
        held = _Coverage(transcripts[index] for index, split in enumerate(division.split) if split == holder)
        for index, split in enumerate(division.split):
            if split in losers and held.overlaps(transcripts[index]):
                division.split[index] = None
                division.excluded[f"window_overlaps_{holder}"] += 1


class _Coverage:
    """The union of DNA windows, by contig, as sorted disjoint intervals."""

    def __init__(self, transcripts: Iterable[Transcript]) -> None:
        windows: dict[Hashable, list[tuple[int, int]]] = {}
        for item in transcripts:
            windows.setdefault(item.contig, []).append((item.window_start, item.window_end))
        self._merged = {contig: _merged(items) for contig, items in windows.items()}

    def overlaps(self, transcript: Transcript) -> bool:
        """Whether the transcript's window shares a base with the union."""
        if transcript.contig not in self._merged:
            return False
        starts, ends = self._merged[transcript.contig]
        place = int(np.searchsorted(starts, transcript.window_end))
        return place > 0 and bool(ends[place - 1] > transcript.window_start)


def _merged(intervals: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    merged: list[list[int]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    table = np.array(merged, dtype=np.int64)
    return table[:, 0], table[:, 1]
