"""The extraction step: raw files to transcripts with sequences, labels and splits, and the genome as codes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.artifacts import config_digest, digest_of, open_artifact, write_artifact, write_json
from components.extract_sequences.annotation import Annotation, read_annotation
from components.extract_sequences.expression import Expression, read_expression
from components.extract_sequences.families import families_of, read_families
from components.extract_sequences.fasta import GenomeFacts, write_genome
from components.extract_sequences.id_matching import Matches, match_ids
from components.extract_sequences.intervals import on_genome, read_bed
from components.extract_sequences.labels import labels_of, reliability, scale
from components.extract_sequences.leakage import audit
from components.extract_sequences.samples import read_sample_tissues
from components.extract_sequences.splits import SPLITS, Division, divide
from components.extract_sequences.table import SCHEMA_VERSION, write_transcripts
from components.extract_sequences.transcripts import Extraction, Transcript, extract
from components.params import Params
from components.progress import track
from components.sections import ExtractParams
from components.sequences import Genome
from components.validate_data.dataset import check_dataset
from components.work_folders import work_folder
from model.errors import InputError

KIND = "transcripts"
RAW = ("genome", "annotation", "expression", "sample_attributes")


def run(inputs: Mapping[str, Path], params: Params, out: Path, work: Path) -> None:
    """Write the transcripts artifact at `out`: transcripts.parquet, genome.safetensors, dataset.json.

    `inputs`: the four raw files; `validation`, which must have passed; maybe `families`, a table of genes and families,
    and `regions`, a BED file, for the splits; maybe `previous`, a transcripts artifact to compare with. Its own checks
    of what it made, with their report, go into the payload too; where one blocks, nothing is written.
    Raises `InputError` on bad input, on splits that leak, and on a blocking check.
    """
    validation = _passed_validation(inputs)
    config = params.config("extract", "validate_data")
    with write_artifact(out, kind=KIND, inputs=inputs, config=config) as writer:
        table = read_families(inputs["families"]) if "families" in inputs else None
        bed = read_bed(inputs["regions"]) if "regions" in inputs else None
        annotation = read_annotation(inputs["annotation"])
        expression = _read_expression(inputs, params.extract)
        ids = [naming.transcript_id for naming in annotation.naming]
        matches = match_ids(ids, expression.transcript_ids, params.extract.id_matching, where=inputs["expression"])
        facts = write_genome(inputs["genome"], writer.payload / "genome.safetensors")
        genome = Genome.open(writer.payload / "genome.safetensors")
        extraction = extract(annotation, genome, params.extract, chosen=sorted(matches.row_of))
        _note_matches(extraction, matches)
        genes = [item.gene_id for item in extraction.transcripts]
        families = None if table is None else families_of(table, genes, inputs["families"])
        regions = None if bed is None else on_genome(bed, genome, inputs["regions"])
        division = divide(extraction.transcripts, params.extract.split, families=families, regions=regions)
        kept = [index for index, split in enumerate(division.split) if split is not None]
        transcripts = [extraction.transcripts[index] for index in kept]
        splits = [str(division.split[index]) for index in kept]
        leakage = audit(transcripts, splits, params.extract.split, families)
        rows = np.array([matches.row_of[item.number] for item in transcripts], dtype=np.int64)
        labels = labels_of(expression, rows)
        write_transcripts(writer.payload / "transcripts.parquet", transcripts, splits, labels)
        description = {
            "schema_version": SCHEMA_VERSION,
            "dataset_version": _version(inputs, validation, params),
            "simulated": validation.simulated or annotation.simulated or expression.simulated,
            "window_bp": params.extract.window_bp,
            "leakage_audit": leakage,
            "split_policy": params.extract.split.model_dump(mode="json"),
            "genes_with_given_family": None if families is None else len(families),
            **_label_facts(expression, rows, labels, splits),
            **_counts(annotation, extraction, division, matches, facts, transcripts, splits),
        }
        write_json(writer.payload / "dataset.json", description)
        check_dataset(
            writer.payload,
            params,
            previous=inputs.get("previous"),
            place=str(out),
            scratch=lambda: work_folder(work, "extract_sequences", inputs, config),
        )
        writer.run["rows"] = len(transcripts)


@dataclass(frozen=True)
class _Validation:
    """`digests` of the raw files that passed; `simulated`: whether they say that they are."""

    digests: dict[str, str]
    simulated: bool


def _passed_validation(inputs: Mapping[str, Path]) -> _Validation:
    """Refuse data that was not validated or did not pass."""
    validation = inputs["validation"]
    artifact = open_artifact(validation, "validation")
    digests = artifact.manifest["inputs"]
    for name in RAW:
        if digests.get(name) != digest_of(inputs[name]):
            raise InputError(
                where=str(validation),
                expected=f"the validation of {inputs[name]}",
                found=f"that of another {name} file",
                fix="Run validate-data on these files first.",
            )
    result = json.loads((artifact.payload / "result.json").read_text(encoding="utf-8"))
    if not result["passed"]:
        failed = [item["name"] for item in result["checks"] if not item["passed"] and item["severity"] == "block"]
        raise InputError(
            where=str(validation),
            expected="data that passed validation",
            found=f"blocking checks that failed: {', '.join(failed[:5])}",
            fix="See report.html there, and correct the data.",
        )
    return _Validation(digests, bool(result.get("simulated", False)))


def _version(inputs: Mapping[str, Path], validation: _Validation, params: Params) -> str:
    """A digest of what decides the rows: raw files, splits' inputs, parameters; not of what they are compared with."""
    decisive = {name: validation.digests[name] for name in RAW}
    decisive |= {name: digest_of(inputs[name]) for name in ("families", "regions") if name in inputs}
    return config_digest({"inputs": decisive, "config": params.config("extract")})


def _read_expression(inputs: Mapping[str, Path], params: ExtractParams) -> Expression:
    attributes = read_sample_tissues(inputs["sample_attributes"], params.tissue_column)
    with track(None, "average expression", "transcripts") as advance:
        return read_expression(inputs["expression"], attributes, tuple(params.tissues), advance)


def _note_matches(extraction: Extraction, matches: Matches) -> None:
    for transcript in extraction.transcripts:
        policy = matches.policy_of[transcript.number]
        if policy != "exact":
            transcript.reasons.append(f"id_matched_{policy}")


def _label_facts(expression: Expression, rows: np.ndarray, labels: np.ndarray, splits: list[str]) -> dict[str, Any]:
    mean, deviation = scale(labels[np.array(splits) == "train"])
    return {
        "tissues": list(expression.tissues),
        "samples_per_tissue": expression.columns.samples_per_tissue,
        "label_mean": mean,
        "label_std": deviation,
        "label_reliability": reliability(expression, rows),
    }


def _counts(
    annotation: Annotation,
    extraction: Extraction,
    division: Division,
    matches: Matches,
    facts: GenomeFacts,
    transcripts: list[Transcript],
    splits: list[str],
) -> dict[str, Any]:
    dropped = Counter(extraction.dropped) + Counter(division.excluded)
    dropped["not_measured"] = matches.counts["annotated_only"]
    genes = {name: set[str]() for name in SPLITS}
    for transcript, split in zip(transcripts, splits, strict=True):
        genes[split].add(transcript.gene_id)
    return {
        "id_matching": matches.counts,
        "renamed_contigs": extraction.renamed_contigs,
        "counts": {
            "annotated_transcripts": len(annotation),
            "rows": len(transcripts),
            "genes": len({transcript.gene_id for transcript in transcripts}),
            "rows_per_split": {name: splits.count(name) for name in SPLITS},
            "genes_per_split": {name: len(genes[name]) for name in SPLITS},
            "reasons": dict(Counter(reason for transcript in transcripts for reason in transcript.reasons)),
            "coding_status": dict(Counter(transcript.coding_status for transcript in transcripts)),
            "dropped": {reason: count for reason, count in sorted(dropped.items()) if count},
            "ambiguous_bases": facts.ambiguous_bases,
        },
    }
