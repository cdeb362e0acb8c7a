"""Genes that are alike: by an identical RNA or protein, by proteins that share k-mers, or by a user's table."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.extract_sequences.streams import read_blocks
from model.errors import InputError

if TYPE_CHECKING:
    from components.extract_sequences.transcripts import Transcript

KMER_RESIDUES = 5
# A k-mer of more genes than this (zinc finger linkers, low complexity) says little of descent, and costs much.
_MAX_GENES_PER_KMER = 200
_MIN_SHARED_KMERS = 5
_GENES_AT_ONCE = 1024
_ALPHABET = 32
_VERSION = re.compile(r"\.\d+(_\d+)?(?=$|_PAR_Y$)")


@dataclass(frozen=True)
class Links:
    """Pairs of genes, as indices into `genes`, int64 (P, 2), that are alike."""

    genes: list[str]
    pairs: np.ndarray

    def named(self) -> list[tuple[str, str]]:
        """The pairs by name."""
        return [(self.genes[one], self.genes[other]) for one, other in self.pairs.tolist()]


def identical_families(transcripts: Sequence[Transcript]) -> dict[str, str]:
    """Family by gene: genes that share an identical RNA or protein are one family, named by its first gene."""
    sets = DisjointSets()
    for transcript in transcripts:
        gene = f"gene {transcript.gene_id}"
        sets.join(gene, f"rna {_digest(transcript.rna)}")
        if transcript.protein:
            sets.join(gene, f"protein {_digest(transcript.protein)}")
    genes = dict.fromkeys(transcript.gene_id for transcript in transcripts)
    return {gene: sets.find(f"gene {gene}").removeprefix("gene ") for gene in genes}


def join_families(families: Mapping[str, str], links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Families by gene, those joined whose genes are linked; a link may go by way of a name that is no gene."""
    sets = DisjointSets()
    for gene, family in families.items():
        sets.join(gene, family)
    for one, other in links:
        sets.join(one, other)
    return {gene: sets.find(gene) for gene in families}


def similar_proteins(transcripts: Iterable[Transcript], min_shared: float) -> Links:
    """Pairs of genes whose proteins share at least `min_shared` of the smaller one's distinct 5-mers, and five.

    About min_shared ** (1/5) of residues are then identical: 0.1 is 63 %. k-mers of very many genes do not count.
    """
    from scipy.sparse import csr_array

    proteins: dict[str, set[str]] = {}
    for transcript in transcripts:
        if transcript.protein:
            proteins.setdefault(transcript.gene_id, set()).add(transcript.protein)
    genes = sorted(proteins)
    kmers = [_kmers(sorted(proteins[gene])) for gene in genes]
    if not kmers:
        return Links([], np.empty((0, 2), dtype=np.int64))
    sizes = np.array([len(item) for item in kmers], dtype=np.int64)
    values, columns = np.unique(np.concatenate(kmers), return_inverse=True)
    rows = np.repeat(np.arange(len(genes)), sizes)
    common = np.bincount(columns, minlength=len(values)) <= _MAX_GENES_PER_KMER
    kept = common[columns]
    table = csr_array(
        (np.ones(kept.sum(), dtype=np.int32), (rows[kept], columns[kept])), shape=(len(genes), max(len(values), 1))
    )
    found = [np.empty((0, 2), dtype=np.int64)]
    transposed = table.T.tocsr()
    for start in range(0, len(genes), _GENES_AT_ONCE):
        shared = (table[start : start + _GENES_AT_ONCE] @ transposed).tocoo()
        one, other, count = shared.row + start, shared.col, shared.data
        alike = (one < other) & (
            count >= np.maximum(_MIN_SHARED_KMERS, min_shared * np.minimum(sizes[one], sizes[other]))
        )
        found.append(np.stack([one[alike], other[alike]], axis=1).astype(np.int64))
    return Links(genes, np.concatenate(found))


def read_families(path: Path) -> dict[str, str]:
    """A user's table: gene and family, tab-separated, one gene per line."""
    families: dict[str, str] = {}
    for number, line in enumerate(b"".join(read_blocks(path)).decode("utf-8", "replace").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 2 or not fields[0] or not fields[1] or families.get(fields[0], fields[1]) != fields[1]:
            raise InputError(
                where=f"{path}, line {number:,}",
                expected="a gene and its one family, tab-separated",
                found=repr(line[:60]),
                fix="Correct the table of gene families.",
            )
        families[fields[0]] = fields[1]
    return families


def families_of(table: Mapping[str, str], genes: Iterable[str], where: Path) -> dict[str, str]:
    """The part of a user's table that speaks of `genes`, by their own ids: exact ones, else without versions.

    Raises `InputError` where it speaks of none of them, or gives two families to one gene.
    """
    versionless: dict[str, set[str]] = {}
    for gene, family in table.items():
        versionless.setdefault(_VERSION.sub("", gene), set()).add(family)
    found = {}
    for gene in dict.fromkeys(genes):
        families = {table[gene]} if gene in table else versionless.get(_VERSION.sub("", gene), set())
        if len(families) > 1:
            raise InputError(
                where=str(where),
                expected=f"one family for {gene!r}, found without its version",
                found=", ".join(sorted(families)),
                fix="Give the version in the table, or one family.",
            )
        if families:
            found[gene] = families.pop()
    if not found:
        raise InputError(
            where=str(where),
            expected="families of genes of these data",
            found=f"other genes ({', '.join(list(table)[:3])} …)",
            fix="Use the annotation's gene ids in the first column.",
        )
    return found


class DisjointSets:
    """Union-find over names; a set is named by its first member in order, whatever the order of joining."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, item: str) -> str:
        """The name of the item's set."""
        root = item
        while (above := self._parent.setdefault(root, root)) != root:
            root = above
        while item != root:
            self._parent[item], item = root, self._parent[item]
        return root

    def join(self, one: str, other: str) -> None:
        """Make two sets one."""
        low, high = sorted((self.find(one), self.find(other)))
        self._parent[high] = low


def _digest(sequence: str) -> str:
    return hashlib.blake2b(sequence.encode("ascii"), digest_size=16).hexdigest()


def _kmers(proteins: list[str]) -> np.ndarray:
    """Distinct k-mers of proteins, int64, without those that hold an unknown residue or a stop."""
    found = [np.empty(0, dtype=np.int64)]
    for protein in proteins:
        residues = np.frombuffer(protein.encode("ascii"), dtype=np.uint8).astype(np.int64)
        if len(residues) < KMER_RESIDUES:
            continue
        letters = residues - ord("A")
        windows = np.lib.stride_tricks.sliding_window_view(letters, KMER_RESIDUES)
        known = ((windows >= 0) & (windows != ord("X") - ord("A"))).all(axis=1)
        found.append(windows[known] @ (_ALPHABET ** np.arange(KMER_RESIDUES, dtype=np.int64)))
    return np.unique(np.concatenate(found))
