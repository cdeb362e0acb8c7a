"""Column nine of GTF and GFF3, in the dialects of GENCODE, Ensembl and RefSeq."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

_GFF3_PREFIXES = ("transcript:", "gene:", "rna-", "gene-", "rna:")

Attributes = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Naming:
    """What column nine says of a transcript; an empty string or None where it says nothing."""

    transcript_id: str
    gene_id: str
    gene_name: str | None
    gene_type: str
    transcript_type: str
    tags: tuple[str, ...]


def parse_gtf(text: str) -> dict[str, str]:
    """Values by key; those of a key that stands several times (`tag "a"; tag "b"`) are joined with commas."""
    attributes: dict[str, str] = {}
    pieces = text.split('"')
    for outside, value in zip(pieces[::2], pieces[1::2], strict=False):
        key, bare = _outside_quotes(outside)
        if bare:
            _add_bare(attributes, bare)
        attributes[key] = f"{attributes[key]},{value}" if key in attributes else value
    if pieces[-1] != ";":
        _add_bare(attributes, pieces[-1])
    return attributes


@lru_cache(maxsize=4096)
def _outside_quotes(text: str) -> tuple[str, str]:
    """The key of the value that follows, and what stands before it: maybe pairs whose values are not quoted."""
    key = text.strip("; \t")
    if " " not in key and "\t" not in key:
        return key, ""
    bare, _, key = key.rpartition(" ")
    return key, bare


def _add_bare(attributes: dict[str, str], text: str) -> None:
    for pair in text.split(";"):
        words = pair.split(None, 1)
        if len(words) == 2:
            attributes.setdefault(words[0], words[1].strip())


def parse_gff3(text: str) -> dict[str, str]:
    """Values by key, percent-decoded (GFF3 specification 1.26); several values stay joined with commas."""
    attributes: dict[str, str] = {}
    for pair in text.split(";"):
        key, separator, value = pair.strip().partition("=")
        if separator:
            attributes[key] = unquote(value) if "%" in value else value
    return attributes


def naming_of(attributes: Attributes, *, gene: Attributes | None = None, feature: str = "") -> Naming:
    """Names and types of a transcript from its own attributes, then its gene's, then its GFF3 feature type."""
    gene = gene or {}
    transcript_type = _first(attributes, "transcript_type", "transcript_biotype", "biotype")
    if not transcript_type and feature not in ("", "transcript", "exon", "CDS"):
        transcript_type = feature
    gene_type = _first(attributes, "gene_type", "gene_biotype") or _first(gene, "gene_type", "gene_biotype", "biotype")
    gene_name = _first(attributes, "gene_name") or _first(gene, "gene_name", "Name") or _first(attributes, "gene")
    return Naming(
        transcript_id=transcript_id_of(attributes),
        gene_id=_gene_id(attributes, gene),
        gene_name=gene_name or None,
        gene_type=gene_type,
        transcript_type=transcript_type,
        tags=_tags(attributes.get("tag", "")),
    )


@lru_cache(maxsize=4096)
def _tags(joined: str) -> tuple[str, ...]:
    return tuple(sorted({tag.strip() for tag in joined.split(",")} - {""})) if joined else ()


def transcript_id_of(attributes: Attributes) -> str:
    """The transcript's id with its version, which Ensembl writes in an attribute of its own."""
    name = _first(attributes, "transcript_id") or without_prefix(_first(attributes, "ID"))
    return versioned(name, _first(attributes, "transcript_version") or _gff3_version(attributes))


def without_prefix(identifier: str) -> str:
    """A GFF3 ID without the prefix of Ensembl (`transcript:`, `gene:`) or RefSeq (`rna-`, `gene-`)."""
    for prefix in _GFF3_PREFIXES:
        if identifier.startswith(prefix):
            return identifier[len(prefix) :]
    return identifier


def versioned(name: str, version: str) -> str:
    """`name.version`, unless there is no version or `name` has one."""
    return f"{name}.{version}" if name and version and "." not in name else name


def _gene_id(attributes: Attributes, gene: Attributes) -> str:
    own = _first(attributes, "gene_id")
    if own:
        return versioned(own, _first(attributes, "gene_version"))
    if gene:
        name = _first(gene, "gene_id") or without_prefix(_first(gene, "ID"))
        return versioned(name, _first(gene, "gene_version") or _gff3_version(gene))
    return _first(attributes, "gene") or without_prefix(_first(attributes, "Parent").partition(",")[0])


def _gff3_version(attributes: Attributes) -> str:
    return _first(attributes, "version") if "ID" in attributes else ""


def _first(attributes: Attributes, *keys: str) -> str:
    for key in keys:
        value = attributes.get(key)
        if value:
            return value
    return ""
