"""`isoformer predict` and `isoformer score-variants`: a packaged model on files, without a server."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

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
    fasta: Fasta,
    gtf: Gtf,
    variants: Annotated[
        Path | None, typer.Option("--variants", help="Predict the effects of these: VCF, or chrom:pos:ref:alt lines.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Parquet file; appears whole.")] = Path("predictions.parquet"),
    work: Work = DEFAULT_WORK,
    registry: RegistryRoot = None,
    version: Version = None,
    bento: Bento = None,
    threads: Threads = 0,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Shards at a time, each with its model.")] = 1,
    params: ParamsFile = None,
) -> None:
    """Predict every transcript of an annotation, or what variants do to them; a stopped run goes on where it was."""
    import json

    from components.batch_predict.packaged import find_package
    from components.batch_predict.predict import predict_annotation
    from components.batch_predict.variant_effects import predict_variants

    root = resolve(params, None, None, registry=registry).package.registry
    package = find_package(bento, registry=root, version=version)
    about = json.loads((package / "about.json").read_text(encoding="utf-8"))
    simulated = " (a model of SIMULATED data)" if about["simulated"] else ""
    shared = {"processes": processes, "threads": threads}
    if variants is None:
        count = predict_annotation(package, fasta, gtf, out, work, **shared)
        typer.echo(f"{out}: {count:,} transcripts by model {about['version']}{simulated}")
        return
    counts = predict_variants(package, fasta, gtf, variants, out, work, **shared)
    typer.echo(
        f"{out}: {counts.pairs:,} effects of {counts.within_reach:,} variants by model {about['version']}{simulated}"
    )
    if counts.refused:
        typer.echo(f"{out.with_suffix('.refused.tsv')}: {counts.refused:,} variants that cannot be predicted")


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
    from model.errors import InputError

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
