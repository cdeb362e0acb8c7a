"""`isoformer predict` and `isoformer score-variants`: a packaged model on files, without a server."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from model.errors import InputError
from pipelines.commands.options import DEFAULT_WORK, ParamsFile, RegistryRoot, Work, plain_app, resolve

Fasta = Annotated[Path, typer.Option("--fasta", help="Genome FASTA, plain, gzip or bgzip.")]
Gtf = Annotated[Path, typer.Option("--gtf", help="Annotation, GTF or GFF3, plain or gzip.")]
Version = Annotated[str | None, typer.Option("--version", help="A version; the champion if not given.")]
Bento = Annotated[Path | None, typer.Option("--bento", help="A bento artifact instead of a version.")]
Threads = Annotated[int, typer.Option("--threads", help="CPU threads; 0 = all cores.")]


def build(command: str) -> typer.Typer:
    """The application of one of the two."""
    app = plain_app()
    app.command(command)(predict if command == "predict" else score_variants)
    return app


def predict(
    fasta: Annotated[Path | None, typer.Option("--fasta", help="Genome FASTA, plain, gzip or bgzip.")] = None,
    gtf: Annotated[Path | None, typer.Option("--gtf", help="Annotation, GTF or GFF3, plain or gzip.")] = None,
    variants: Annotated[
        Path | None, typer.Option("--variants", help="Predict the effects of these: VCF, or chrom:pos:ref:alt lines.")
    ] = None,
    transcripts: Annotated[
        Path | None, typer.Option("--transcripts", help="A transcripts artifact instead; --out becomes an artifact.")
    ] = None,
    shard: Annotated[str, typer.Option("--shard", help="With --transcripts: which part of it, such as 0/8.")] = "0/1",
    out: Annotated[Path, typer.Option("--out", help="Parquet file, or artifact folder; appears whole.")] = Path(
        "predictions.parquet"
    ),
    work: Work = DEFAULT_WORK,
    registry: RegistryRoot = None,
    version: Version = None,
    bento: Bento = None,
    threads: Threads = 0,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Parts at a time, each with its model.")] = 1,
    params: ParamsFile = None,
) -> None:
    """Predict every transcript of an annotation or extraction, or effects of variants; a stopped run goes on."""
    from components.batch_predict.packaged import find_package

    root = resolve(params, None, None, registry=registry).package.registry
    package = find_package(bento, registry=root, version=version)
    about = json.loads((package / "about.json").read_text(encoding="utf-8"))
    of_model = f"by model {about['version']}" + (" (a model of SIMULATED data)" if about["simulated"] else "")
    if transcripts is not None and fasta is None and gtf is None and variants is None:
        from components.batch_predict.dataset import predict_dataset
        from components.batch_predict.packaged import open_package

        number, shards = _shard(shard)
        inputs = {"transcripts": transcripts, **({"bento": bento} if bento else {})}
        model = open_package(package, threads=threads)
        count = predict_dataset(model, inputs, out, work, shard=number, shards=shards)
        typer.echo(f"{out}: {count:,} transcripts {of_model}")
        return
    if transcripts is not None or fasta is None or gtf is None:
        raise InputError(
            where="isoformer predict",
            expected="--fasta and --gtf, or --transcripts",
            found="neither or both",
            fix="Name a genome and its annotation, or an extraction of them.",
        )
    from components.batch_predict.predict import predict_annotation
    from components.batch_predict.variant_effects import predict_variants

    shared = {"processes": processes, "threads": threads}
    if variants is None:
        count = predict_annotation(package, fasta, gtf, out, work, **shared)
        typer.echo(f"{out}: {count:,} transcripts {of_model}")
        return
    counts = predict_variants(package, fasta, gtf, variants, out, work, **shared)
    typer.echo(f"{out}: {counts.pairs:,} effects of {counts.within_reach:,} variants {of_model}")
    if counts.refused:
        typer.echo(f"{out.with_suffix('.refused.tsv')}: {counts.refused:,} variants that cannot be predicted")


def _shard(text: str) -> tuple[int, int]:
    number, _, shards = text.partition("/")
    if not number.isdigit() or not shards.isdigit() or not int(number) < int(shards):
        raise InputError(where="--shard", expected="a part such as 0/8", found=repr(text), fix="Count from 0.")
    return int(number), int(shards)


def score_variants(
    table: Annotated[Path, typer.Option("--table", help="TSV: variant, gene_id or transcript_id, tissue, slope.")],
    fasta: Fasta,
    gtf: Gtf,
    out: Annotated[Path, typer.Option("--out", help="JSON with the scores and every row.")] = Path(
        "variant_scores.json"
    ),
    registry: RegistryRoot = None,
    version: Version = None,
    bento: Bento = None,
    threads: Threads = 0,
    params: ParamsFile = None,
) -> None:
    """Compare predicted effects of variants with measured ones: sign accuracy, AUROC against matched controls."""
    from components.artifacts import write_json
    from components.batch_predict.packaged import open_packaged
    from components.batch_predict.predict import read_transcripts
    from components.batch_predict.score_variants import read_table, score, summary

    if out.exists():
        raise InputError(where=str(out), expected="no such file", found="one", fix="Choose another --out or delete it.")
    root = resolve(params, None, None, registry=registry).package.registry
    model = open_packaged(bento, registry=root, version=version, threads=threads)
    rows = read_table(table, model.config.tissues)
    with tempfile.TemporaryDirectory() as folder:
        genome, transcripts = read_transcripts(fasta, gtf, model.config.window_bp, Path(folder))
        scored, refused = score(model, genome, transcripts, rows)
    found = summary(scored, refused)
    entries = [
        {
            "line": one.row.line,
            "variant": one.row.variant,
            "target": one.row.target,
            "tissue": one.row.tissue,
            "slope": one.row.slope,
            "control": one.row.control,
            "predicted_log2_change": one.effect,
            "tss_distance_bp": one.tss_distance_bp,
            "consequences": list(one.consequences),
        }
        for one in scored
    ]
    write_json(out, {"version": model.about["version"], "summary": found, "rows": entries, "refused": refused})
    for name in ("sign_accuracy", "auroc_against_matched_controls"):
        figure = found[name]
        text = f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})" if figure else "no rows"
        typer.echo(f"{name.replace('_', ' ')}: {text}")
    typer.echo(f"{out}: {found['cases']:,} cases, {found['matched_pairs']:,} with a control, {len(refused):,} refused")
