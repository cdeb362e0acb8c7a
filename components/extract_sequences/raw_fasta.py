"""From a genome and an annotation straight to FASTA, on all cores: what other tools make, and to compare with them."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO, cast

from components.allocation import keep_freed_memory
from components.background import available_cores, map_forked, started
from components.extract_sequences.annotation import read_annotation
from components.extract_sequences.export_fasta import FILES, Record, fasta_files, write_records
from components.extract_sequences.fasta import write_genome
from components.extract_sequences.transcripts import Part, Plan, Transcript
from components.sections import ExtractParams
from components.sequences import Genome

_COPY_BYTES = 1 << 22


@dataclass(frozen=True)
class RawFasta:
    """Records written by file, and transcripts left out by reason."""

    records: dict[str, int]
    dropped: dict[str, int]


def fasta_of_raw(
    genome: Path, annotation: Path, out: Path, params: ExtractParams | None = None, processes: int | None = None
) -> RawFasta:
    """Write rna.fa, cds.fa and protein.fa of all annotated transcripts into the folder `out`.

    The files are the same whatever the number of `processes` (None = the cores that may be used). A file is there whole
    or not at all. Raises `InputError` for bad input, as extraction does, and for a file that is there already.
    """
    keep_freed_memory()
    processes = available_cores() if processes is None else processes
    with fasta_files(out) as handles, tempfile.TemporaryDirectory(dir=out, prefix=".partial.") as work:
        codes = Path(work) / "genome.safetensors"
        # The genome is read in another process while this one and its own read the annotation.
        with started(lambda: write_genome(genome, codes)) as genome_facts:
            read = read_annotation(annotation)
            genome_facts()
        plan = Plan(read, Genome.open(codes), params or ExtractParams())
        shares = _shares(plan, processes)
        others = [Path(work) / str(number) for number in range(1, len(shares))]

        def write(number: int) -> tuple[Counter[str], Counter[str]]:
            if number == 0:
                return _write(plan, shares[0], handles)
            with ExitStack() as stack:
                return _write(plan, shares[number], _opened(stack, others[number - 1], "wb"))

        written = map_forked(write, range(len(shares)), processes)
        for place in others:
            with ExitStack() as stack:
                for name, part in _opened(stack, place, "rb").items():
                    handles[name].seek(0, os.SEEK_END)
                    copyfileobj(part, handles[name], _COPY_BYTES)
    records = sum((counts for counts, _ in written), Counter(dict.fromkeys(FILES, 0)))
    dropped = sum((counts for _, counts in written), plan.dropped)
    return RawFasta(dict(records), dict(sorted(dropped.items())))


def _opened(stack: ExitStack, folder: Path, mode: str) -> dict[str, BinaryIO]:
    folder.mkdir(exist_ok=True)
    return {name: cast(BinaryIO, stack.enter_context((folder / name).open(mode))) for name in FILES}


def _write(plan: Plan, parts: list[Part], handles: Mapping[str, BinaryIO]) -> tuple[Counter[str], Counter[str]]:
    """Records written by file, and transcripts left out by reason."""
    dropped: Counter[str] = Counter()
    transcripts = (item for part in parts for item in plan.cut(part, dropped))
    records = write_records(handles, map(_record, transcripts))
    for handle in handles.values():
        handle.flush()
    return records, dropped


def _record(item: Transcript) -> Record:
    return Record(
        transcript_id=item.transcript_id,
        gene_id=item.gene_id,
        contig=item.contig,
        strand=item.strand,
        exon_starts=item.exon_starts.tolist(),
        exon_ends=item.exon_ends.tolist(),
        rna=item.rna,
        cds_start=item.cds_start,
        cds_end=item.cds_end,
        cds_phase=item.cds_phase,
        protein=item.protein,
    )


def _shares(plan: Plan, count: int) -> list[list[Part]]:
    """The parts of a plan in `count` runs of about as many bases, contigs cut where that is needed; none is empty."""
    total = sum(plan.rna_length(number) for part in plan.parts for number in part.numbers)
    shares: list[list[Part]] = [[]]
    done = 0
    for part in plan.parts:
        first = 0
        for place, number in enumerate(part.numbers):
            if done * count >= total * len(shares) and (shares[-1] or place > first):
                if place > first:
                    shares[-1].append(Part(part.contig, part.numbers[first:place]))
                shares.append([])
                first = place
            done += plan.rna_length(number)
        if first < len(part.numbers):
            shares[-1].append(Part(part.contig, part.numbers[first:]))
    return shares
