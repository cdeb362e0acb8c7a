"""Dividing transcripts into train, valid and test so that nothing of one is seen in another.

Union-find over overlapping windows would chain most coding genes of a real genome into one component; so windows are
kept apart by excluding, and counting, what overlaps a more held-out split.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from components.extract_sequences.families import identical_families, join_families, similar_proteins
from components.extract_sequences.intervals import Coverage, Interval
from components.extract_sequences.transcripts import Transcript
from components.sections import SplitParams
from model.errors import InputError

TRAIN, VALID, TEST = "train", "valid", "test"
# From the least to the most held out.
SPLITS = (TRAIN, VALID, TEST)


@dataclass
class Division:
    """`split` by transcript, None where it is excluded; `excluded` counts those by reason; `families`: by gene."""

    split: list[str | None]
    families: dict[str, str]
    excluded: Counter[str] = field(default_factory=Counter)


def divide(
    transcripts: Sequence[Transcript],
    params: SplitParams,
    *,
    families: Mapping[str, str] | None = None,
    regions: Mapping[str, Sequence[Interval]] | None = None,
) -> Division:
    """Give each transcript its split; no gene and no family is in two, and none of the splits is empty.

    `families`: a user's family by gene, instead of similar proteins. `regions`: a user's intervals by name, for the
    policy `region`. Raises `InputError` where genes, contigs or regions do not suffice for three splits.
    """
    family_of = _families(transcripts, params, families)
    if params.policy in ("gene", "family"):
        division = Division(_by_hash([family_of[item.gene_id] for item in transcripts], params), family_of)
    else:
        own, excluded = _by_place(transcripts, params, regions)
        division = Division(own, family_of, excluded)
        _exclude_relatives(transcripts, division)
    if params.exclude_overlapping_windows:
        _exclude_overlaps(transcripts, division)
    if params.policy != "gene" and families is None:
        _exclude_late_relatives(transcripts, division, params)
    for name in SPLITS:
        if name not in division.split:
            raise InputError(
                where="extract.split",
                expected=f"genes for the splits {', '.join(SPLITS)}",
                found=f"none left for {name!r} of {len(set(family_of.values()))} independent groups of genes",
                fix="Give more genes or contigs, or change the section extract.split of params.yaml.",
            )
    return division


def _families(
    transcripts: Sequence[Transcript], params: SplitParams, given: Mapping[str, str] | None
) -> dict[str, str]:
    links: Iterable[tuple[str, str]] = ()
    if given is not None:
        # Prefixed, so that a family of the table never bears the name of a gene.
        links = ((gene, f"~{family}") for gene, family in given.items())
    elif params.policy != "gene":
        links = similar_proteins(transcripts, params.min_shared_kmers).named()
    return join_families(identical_families(transcripts), links)


def _by_hash(families: Sequence[str], params: SplitParams) -> list[str | None]:
    """A family's place in [0, 1) depends on the seed and its name alone, so that new genes do not move old ones."""
    place = {family: _place(family, params.seed) for family in families}
    split_of = {family: _split_at(value, params) for family, value in place.items()}
    # With a handful of genes a small share may catch none: the nearest gives way.
    middles = {TEST: params.test_share / 2, VALID: params.test_share + params.valid_share / 2}
    for name, middle in middles.items():
        candidates = [family for family, split in split_of.items() if split == TRAIN]
        if name not in split_of.values() and len(candidates) > 1:
            split_of[min(candidates, key=lambda family: (abs(place[family] - middle), family))] = name
    return [split_of[family] for family in families]


def _place(name: str, seed: int) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:7], "big") / 2**56


def _split_at(place: float, params: SplitParams) -> str:
    if place < params.test_share:
        return TEST
    return VALID if place < params.test_share + params.valid_share else TRAIN


def _by_place(
    transcripts: Sequence[Transcript], params: SplitParams, regions: Mapping[str, Sequence[Interval]] | None
) -> tuple[list[str | None], Counter[str]]:
    """Splits by where the transcript lies: contig, block of `block_bp`, or a user's regions."""
    excluded: Counter[str] = Counter()
    if params.policy == "chromosome":
        locate = _contig_locator(transcripts, params)
    elif params.policy == "block":
        locate = _block_locator(params)
    else:
        locate = _region_locator(params, regions or {})
    own: list[str | None] = []
    for item in transcripts:
        place = locate(item)
        own.append(place if place in SPLITS else None)
        if place not in SPLITS:
            excluded[place] += 1
    return own, excluded


def _contig_locator(transcripts: Sequence[Transcript], params: SplitParams) -> Callable[[Transcript], str]:
    contigs = {transcript.contig for transcript in transcripts}
    for name in (*params.valid_contigs, *params.test_contigs):
        if name not in contigs:
            raise InputError(
                where="extract.split",
                expected=f"contigs with transcripts ({', '.join(sorted(contigs)[:6])} …)",
                found=repr(name),
                fix="Correct extract.split.valid_contigs or test_contigs in params.yaml.",
            )
    split_of = dict.fromkeys(params.valid_contigs, VALID) | dict.fromkeys(params.test_contigs, TEST)
    return lambda item: split_of.get(item.contig, TRAIN)


def _block_locator(params: SplitParams) -> Callable[[Transcript], str]:
    """By the blocks that window and exons touch, which must be of one split: nothing crosses a border to another."""
    split_of: dict[tuple[str, int], str] = {}

    def locate(item: Transcript) -> str:
        start = max(0, min(item.window_start, int(item.exon_starts[0])))
        end = max(item.window_end, int(item.exon_ends[-1]))
        touched = set()
        for block in range(start // params.block_bp, (end - 1) // params.block_bp + 1):
            key = item.contig, block
            if key not in split_of:
                split_of[key] = _split_at(_place(f"{item.contig}:{block}", params.seed), params)
            touched.add(split_of[key])
        return touched.pop() if len(touched) == 1 else "crosses_blocks"

    return locate


def _region_locator(params: SplitParams, regions: Mapping[str, Sequence[Interval]]) -> Callable[[Transcript], str]:
    """By the regions that the whole window touches, which must be of one split."""
    if not regions:
        raise InputError(
            where="extract.split.policy",
            expected="a BED file of regions, which the policy 'region' goes by",
            found="none",
            fix="Name it by --regions, or data.regions in params.yaml.",
        )
    for name in params.region_splits:
        if name not in regions:
            raise InputError(
                where="extract.split.region_splits",
                expected=f"names of regions ({', '.join(sorted(regions)[:8])})",
                found=repr(name),
                fix="Correct it in params.yaml, or the fourth column of the BED file.",
            )
    merged: dict[str, list[Interval]] = {name: [] for name in SPLITS}
    margin = params.region_margin_bp
    for name, intervals in regions.items():
        merged[params.region_splits.get(name, name if name in SPLITS else TRAIN)].extend(
            (contig, start - margin, end + margin) for contig, start, end in intervals
        )
    coverage = {name: Coverage(intervals) for name, intervals in merged.items()}

    def locate(item: Transcript) -> str:
        touched = [name for name in SPLITS if coverage[name].overlaps(item.contig, item.window_start, item.window_end)]
        if len(touched) == 1:
            return touched[0]
        return "window_crosses_regions" if touched else "outside_regions"

    return locate


def _exclude_relatives(transcripts: Sequence[Transcript], division: Division) -> None:
    """A family stays in the most held-out split that it reaches; its members elsewhere are excluded."""
    rank = {name: number for number, name in enumerate(SPLITS)}
    highest: dict[str, int] = {}
    families = [division.families[item.gene_id] for item in transcripts]
    for family, split in zip(families, division.split, strict=True):
        if split is not None:
            highest[family] = max(highest.get(family, 0), rank[split])
    for index, (family, split) in enumerate(zip(families, division.split, strict=True)):
        if split is not None and rank[split] < highest[family]:
            division.split[index] = None
            division.excluded["family_in_other_split"] += 1


def _exclude_late_relatives(transcripts: Sequence[Transcript], division: Division, params: SplitParams) -> None:
    """Exclude relatives until there are none: a gene that lost transcripts is measured by the proteins that it keeps,
    and what was a small part of all of them may be a large part of those."""
    measured = len(transcripts)
    while (kept := sum(split is not None for split in division.split)) < measured:
        measured = kept
        left = [item for item, split in zip(transcripts, division.split, strict=True) if split is not None]
        links = similar_proteins(left, params.min_shared_kmers).named()
        division.families = join_families(division.families, links)
        _exclude_relatives(transcripts, division)


def _exclude_overlaps(transcripts: Sequence[Transcript], division: Division) -> None:
    """Exclude from train and valid what overlaps a test window, and from train what overlaps a valid one."""
    for holder, losers in ((TEST, (TRAIN, VALID)), (VALID, (TRAIN,))):
        held = Coverage(
            (item.contig, item.window_start, item.window_end)
            for item, split in zip(transcripts, division.split, strict=True)
            if split == holder
        )
        for index, (item, split) in enumerate(zip(transcripts, division.split, strict=True)):
            if split in losers and held.overlaps(item.contig, item.window_start, item.window_end):
                division.split[index] = None
                division.excluded[f"window_overlaps_{holder}"] += 1
