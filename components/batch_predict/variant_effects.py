"""What each of a list of variants does to the transcripts around it, predicted into one Parquet file.

The list is a VCF (plain or gzipped; every ALT allele is a variant of its own), or text with one `chrom:pos:ref:alt` per
line. A variant is predicted for each transcript whose DNA window or exons it touches.
"""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from components.batch_predict.packaged import PackagedModel, open_package
from components.batch_predict.parts import join_parts, parts_of, write_parts
from components.batch_predict.predict import input_of, metadata_of, read_transcripts, refuse_existing, window_bp_of
from components.extract_sequences.streams import read_blocks
from components.extract_sequences.transcripts import Transcript
from components.sequences import Genome, letters_of
from components.variants import Variant, apply_variant, locus_of, parse_variant
from components.work_folders import work_folder
from model.batch import TranscriptInput
from model.errors import InputError

# Pairs of a variant and a transcript in one part.
PART_PAIRS = 128
RNA_LOST = "rna_lost"


@dataclass(frozen=True)
class Listed:
    """A variant as listed: its line, `chrom:pos:ref:alt`, and what that means."""

    line: int
    text: str
    variant: Variant


@dataclass(frozen=True)
class Counts:
    """How many variants were listed, in transcripts' reach, and refused; and pairs with a transcript."""

    variants: int
    within_reach: int
    pairs: int
    refused: int


@dataclass
class _Found:
    """Variants that can be predicted, and why others cannot, by line."""

    listed: list[Listed]
    refused: dict[int, str]


def predict_variants(
    package: Path,
    genome: Path,
    annotation: Path,
    variants: Path,
    out: Path,
    work: Path,
    *,
    processes: int = 1,
    threads: int = 0,
) -> Counts:
    """Write the predicted effect of each variant on each transcript in its reach to `out`.

    Columns: variant, transcript_id, gene_id, consequences, caveats, reference (log1p TPM per tissue), effect (log2 of
    (1 + TPM with the variant) / (1 + TPM without), per tissue; null where a deletion leaves no RNA). Beside it
    `<out>.refused.tsv`: line, variant and reason of those that cannot be predicted. Parts are kept below `work`.
    Raises `InputError` on a list that cannot be read, and where none of it can be predicted.
    """
    refuse_existing(out)
    about = json.loads((package / "about.json").read_text(encoding="utf-8"))
    inputs = {"genome": genome, "annotation": annotation, "variants": variants}
    folder = work_folder(work, "variant_effects", inputs, {"version": about["version"], "part": PART_PAIRS})
    opened, transcripts = read_transcripts(genome, annotation, window_bp_of(package), folder)
    found = _read(variants, opened)
    pairs = _pairs(found.listed, transcripts)
    if not pairs:
        raise InputError(
            where=str(variants),
            expected="variants in reach of a transcript",
            found=next(iter(found.refused.values()), "none within a DNA window or an exon"),
            fix="Check that variants, genome and annotation are of the same assembly.",
        )
    parts = parts_of(pairs, folder, PART_PAIRS)
    write_parts(
        parts,
        open_model=lambda share: open_package(package, threads=share or threads),
        table_of=partial(_effects, opened),
        processes=processes,
        unit="variants × transcripts",
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    _write_refused(out.with_suffix(".refused.tsv"), found.refused)
    join_parts([part.file for part in parts], out)
    reached = len({one.line for one, _ in pairs})
    return Counts(len(found.listed) + len(found.refused), reached, len(pairs), len(found.refused))


def _read(path: Path, genome: Genome) -> _Found:
    found = _Found([], {})
    seen: set[str] = set()
    for line, text in _alleles(path):
        try:
            one = Listed(line, text, _on_genome(parse_variant(text), genome))
        except InputError as error:
            found.refused.setdefault(line, f"{text}\t{error}")
            continue
        if text not in seen:
            seen.add(text)
            found.listed.append(one)
    return found


def _alleles(path: Path) -> Iterator[tuple[int, str]]:
    """Line and `chrom:pos:ref:alt` of each listed allele."""
    line = 0
    for block in read_blocks(path):
        for text in block.decode("utf-8", errors="replace").splitlines():
            line += 1
            if not text.strip() or text.startswith("#"):
                continue
            fields = text.split("\t")
            if len(fields) == 1:
                yield line, text.strip()
                continue
            if len(fields) < 5 or not fields[1].isdigit():
                raise InputError(
                    where=f"{path}, line {line}",
                    expected="a line of a VCF (CHROM POS ID REF ALT …) or chrom:pos:ref:alt",
                    found=text[:60],
                    fix="Give a VCF, or one variant per line.",
                )
            for alternative in fields[4].split(","):
                yield line, f"{fields[0]}:{fields[1]}:{fields[3]}:{alternative}"


def _on_genome(variant: Variant, genome: Genome) -> Variant:
    """The variant with the genome's name of its contig; raises `InputError` where its reference bases differ."""
    names = (variant.contig, f"chr{variant.contig}", variant.contig.removeprefix("chr"))
    contig = next((name for name in names if name in genome), None)
    if contig is None or variant.end > genome.length(contig):
        raise InputError(
            where=f"{variant.contig}:{variant.start + 1}",
            expected="a place on the genome",
            found="none",
            fix="Use the genome's contigs.",
        )
    found = letters_of(genome.window(contig, variant.start, variant.end, "+"))
    if found != variant.reference:
        raise InputError(
            where=f"{variant.contig}:{variant.start + 1}",
            expected=f"the genome's {found[:20]}",
            found=variant.reference[:20],
            fix="Use alleles of the forward strand of this assembly.",
        )
    return Variant(contig=contig, start=variant.start, reference=variant.reference, alternative=variant.alternative)


def _pairs(listed: Sequence[Listed], transcripts: Sequence[Transcript]) -> list[tuple[Listed, Transcript]]:
    """Each variant with each transcript whose window or exons it touches, in the order of transcripts.

    Transcripts of one place stand together: they share DNA windows, which are encoded once.
    """
    by_contig: dict[str, list[Listed]] = {}
    for one in sorted(listed, key=lambda item: item.variant.start):
        by_contig.setdefault(one.variant.contig, []).append(one)
    starts = {contig: [item.variant.start for item in items] for contig, items in by_contig.items()}
    longest = {contig: max(len(item.variant.reference) for item in items) for contig, items in by_contig.items()}
    pairs = []
    for row in transcripts:
        if row.contig not in by_contig:
            continue
        low = min(row.window_start, int(row.exon_starts[0]))
        high = max(row.window_end, int(row.exon_ends[-1]))
        first = bisect.bisect_left(starts[row.contig], low - longest[row.contig])
        last = bisect.bisect_left(starts[row.contig], high)
        pairs += [(one, row) for one in by_contig[row.contig][first:last] if _touches(one.variant, row)]
    return pairs


def _touches(variant: Variant, row: Transcript) -> bool:
    spans = [(row.window_start, row.window_end), *zip(row.exon_starts.tolist(), row.exon_ends.tolist(), strict=True)]
    end = max(variant.end, variant.start + 1)
    return any(variant.start < high and end > low for low, high in spans)


def _effects(genome: Genome, model: PackagedModel, pairs: Sequence[tuple[Listed, Transcript]]) -> Any:
    import pyarrow as pa

    # A transcript without the variant is predicted once, with however many variants it comes.
    rows = {row.transcript_id: row for _, row in pairs}
    place = {name: index for index, name in enumerate(rows)}
    edited = [apply_variant(genome, locus_of(partial(getattr, row)), one.variant) for one, row in pairs]
    dna = "dna" in model.config.modalities
    inputs = [input_of(genome, row, model.config.modalities) for row in rows.values()]
    kept = np.array([bool(item.rna) for item in edited])
    inputs += [
        TranscriptInput(dna=item.dna if dna else None, rna=item.rna, protein=item.protein)
        for item in edited
        if item.rna
    ]
    log1p = model.predictor.predict(inputs).log1p_tpm
    before = log1p[[place[row.transcript_id] for _, row in pairs]]
    after = before.copy()
    after[kept] = log1p[len(rows) :]
    # log1p TPM below 0 means none: expm1 of it is no TPM.
    effect = (np.maximum(after, 0) - np.maximum(before, 0)) / np.float32(np.log(2))
    width = len(model.config.tissues)
    strings = pa.list_(pa.string())
    columns = {
        "variant": pa.array([one.text for one, _ in pairs]),
        "transcript_id": pa.array([row.transcript_id for _, row in pairs]),
        "gene_id": pa.array([row.gene_id for _, row in pairs]),
        "consequences": pa.array([list(item.consequences) for item in edited], strings),
        "caveats": pa.array([list(item.caveats) if item.rna else [RNA_LOST] for item in edited], strings),
        "reference": pa.FixedSizeListArray.from_arrays(pa.array(before.reshape(-1)), width),
        "effect": pa.FixedSizeListArray.from_arrays(pa.array(effect.reshape(-1)), width, mask=pa.array(~kept)),
    }
    metadata = metadata_of(model.about, model.config.tissues, "reference: log1p TPM; effect: log2 fold of 1 + TPM")
    return pa.table(columns).replace_schema_metadata(metadata)


def _write_refused(file: Path, refused: dict[int, str]) -> None:
    lines = ["line\tvariant\treason", *(f"{line}\t{text}" for line, text in sorted(refused.items()))]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
