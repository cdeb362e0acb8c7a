"""`isoformer train-job`: the manifests of a training on several machines."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.options import Overrides, Preset, plain_app


def build(_: str) -> typer.Typer:
    """The application of the sub-command."""
    app = plain_app()
    app.command(name="train-job")(train_job)
    return app


def train_job(
    image: Annotated[str, typer.Option(help="The train image, by a fixed tag or digest.")],
    claim: Annotated[str, typer.Option(help="An existing ReadWriteMany claim with the transcripts artifact.")],
    nodes: Annotated[int, typer.Option(help="Machines.")] = 2,
    processes_per_node: Annotated[int, typer.Option(help="GPUs of a machine.")] = 8,
    name: Annotated[str, typer.Option(help="Of the job and its runtime.")] = "isoformer-train",
    namespace: Annotated[str, typer.Option(help="Where the job runs.")] = "default",
    preset: Preset = None,
    overrides: Overrides = None,
) -> None:
    """Print the Kubeflow Trainer v2 manifests of a training on several machines, for `kubectl apply -f -`."""
    import yaml

    from components.params import load_params
    from components.train_model.trainjob import TrainJobRequest
    from components.train_model.trainjob import train_job as manifests

    load_params(None, preset=preset, overrides=overrides or ())  # a wrong key shows here, not in the cluster
    request = TrainJobRequest(
        name=name,
        namespace=namespace,
        image=image,
        claim=claim,
        nodes=nodes,
        processes_per_node=processes_per_node,
        preset=preset,
        overrides=tuple(overrides or ()),
    )
    print(yaml.safe_dump_all(manifests(request), sort_keys=False), end="")
