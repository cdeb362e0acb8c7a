"""`isoformer pipeline`: compile the Kubeflow pipeline, or run it on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import (
    DEFAULT_WORK,
    Data,
    Overrides,
    ParamsFile,
    Preset,
    RegistryRoot,
    Work,
    plain_app,
    resolve,
)


def build(command: str) -> typer.Typer:
    """The application of `isoformer pipeline`."""
    app = plain_app("Compile the Kubeflow pipeline, or run it on this machine.")
    app.command("compile")(compile_pipeline)
    app.command("run")(run_pipeline)
    return app


def compile_pipeline(
    out: Annotated[Path, typer.Option("--out", help="The package.")] = Path("build/training_pipeline.yaml"),
    images: Annotated[str, typer.Option("--images", help="Image name up to -data:TAG.")] = "localhost/isoformer",
    tag: Annotated[str, typer.Option("--tag", help="Tag of the images; never one that moves.")] = "dev",
    accelerator: Annotated[str, typer.Option("--accelerator", help="Resource name, e.g. nvidia.com/gpu.")] = "",
    accelerators: Annotated[int, typer.Option("--accelerators", help="How many of it for training.")] = 0,
    work_claim: Annotated[str, typer.Option("--work-claim", help="Claim that keeps checkpoints over retries.")] = "",
    owner: Annotated[str, typer.Option("--owner", help="Value of the owner label of every pod.")] = "isoformer",
    params: ParamsFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
) -> None:
    """Write the package that a Kubeflow installation takes; the resolved parameters are its default."""
    from pipelines.compile import compile_package
    from pipelines.policy import Cluster

    cluster = Cluster(
        images=images,
        tag=tag,
        accelerator=accelerator,
        accelerators=accelerators,
        work_claim=work_claim,
        owner=owner,
    )
    compile_package(out, cluster, resolve(params, preset, overrides).to_json())
    typer.echo(f"wrote {out}")


def run_pipeline(
    data: Data = None,
    out: Annotated[Path | None, typer.Option("--out", help="Empty folder of the run; runs/pipeline-<n>.")] = None,
    work: Work = DEFAULT_WORK,
    registry: RegistryRoot = None,
    params: ParamsFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
) -> None:
    """Run the Kubeflow pipeline with kfp's local runner, to a verdict and, if blessed, a registered version."""
    from pipelines.local_run import next_folder, run_locally
    from pipelines.outcome import print_outcome

    tree = resolve(params, preset, overrides, data=data, registry=registry)
    place = out or next_folder(Path("runs"), "pipeline")
    result = run_locally(tree, data=Path(tree.data.folder), out=place, work=work, registry=tree.package.registry)
    print_outcome(result)
