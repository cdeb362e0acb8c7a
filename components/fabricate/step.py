"""Fabricate a genome, its annotation and its expression from a seed, with the truth about them beside.

Writes a plain folder of ordinary files, as a user's own would be: genome.fa.gz (.fai, .gzi), annotation.gtf.gz,
transcript_tpm.gct.gz, sample_attributes.txt; and truth.json, truth_features.tsv, truth_motifs.tsv.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.artifacts import AlreadyComplete, sha256_file, staged, write_json
from components.fabricate.annotation import write_annotation
from components.fabricate.contigs import simulate_genome
from components.fabricate.expression import labels_of, samples_of, simulate_tpm, write_sample_attributes, write_tpm
from components.fabricate.gene_model import MIN_WINDOW_BP
from components.fabricate.genome import write_genome
from components.fabricate.signal import draw_signal
from components.fabricate.truth import states_of, transcript_ids, truth_of, write_features, write_motifs
from components.params import Params
from model.errors import InputError

TRUTH = "truth.json"


def run(inputs: Mapping[str, Path], params: Params, out: Path, work: Path) -> None:
    """Write the raw folder at `out`; it takes no inputs and needs no work folder.

    Raises `AlreadyComplete` where `out` is this very fabrication, unchanged, and `InputError` otherwise.
    """
    window_bp = window_of(params)
    config = {**params.fabricate.model_dump(mode="json"), "window_bp": window_bp}
    _refuse_occupied(out, config)
    with staged(out) as folder:
        _fabricate(folder, params, config)


def window_of(params: Params) -> int:
    """The DNA window that genes are spaced for: fabricate.window_bp, or extract.window_bp where that is not set."""
    window_bp = params.fabricate.window_bp or params.extract.window_bp
    if window_bp < MIN_WINDOW_BP:
        raise InputError(
            where="fabricate.window_bp (extract.window_bp where it is not set)",
            expected=f"at least {MIN_WINDOW_BP}, which the promoter motifs need",
            found=str(window_bp),
            fix="Choose a larger window.",
        )
    return window_bp


def _fabricate(folder: Path, params: Params, config: dict[str, Any]) -> None:
    fabricate = params.fabricate
    contigs, genes = simulate_genome(fabricate, config["window_bp"])
    write_genome(folder / "genome.fa.gz", ((item.name, item.codes, item.masked) for item in contigs))
    write_annotation(folder / "annotation.gtf.gz", genes)
    ids, states = transcript_ids(genes), states_of(genes)
    signal = draw_signal(fabricate)
    table = signal.table()
    samples = samples_of(fabricate.samples_per_tissue)
    tpm = simulate_tpm(table[tuple(states.T)], fabricate)
    write_tpm(folder / "transcript_tpm.gct.gz", ids, samples, tpm)
    write_sample_attributes(folder / "sample_attributes.txt", samples)
    write_features(folder / "truth_features.tsv", ids, states)
    write_motifs(folder / "truth_motifs.tsv", genes)
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
    truth = truth_of(genes, states, signal, labels_of(tpm))
    write_json(folder / TRUTH, {"config": config, "files": files, **truth})


def _refuse_occupied(out: Path, config: Mapping[str, Any]) -> None:
    if out.is_dir() and not out.is_symlink():
        if not any(out.iterdir()):
            return
        if (out / TRUTH).is_file() and _is_intact(out, config):
            raise AlreadyComplete(str(out))
        found = "a folder with other or changed files"
    elif out.exists() or out.is_symlink():
        found = "a file or link"
    else:
        return
    raise InputError(
        where=str(out), expected="an empty or absent folder", found=found, fix="Choose another --out or delete it."
    )


def _is_intact(folder: Path, config: Mapping[str, Any]) -> bool:
    try:
        truth = json.loads((folder / TRUTH).read_text(encoding="utf-8"))
        files = dict(truth["files"])
    except (ValueError, KeyError, TypeError):
        return False
    present = {path.name for path in folder.iterdir()}
    return (
        truth.get("config") == dict(config)
        and present == {TRUTH, *files}
        and all(sha256_file(folder / name) == digest for name, digest in files.items())
    )
