"""`isoformer train-job`: a training on several machines, as manifests or on the cluster itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import Overrides, Preset, plain_app

if TYPE_CHECKING:
    from components.train_model.trainjob import TrainJobRequest


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
    runtime: Annotated[str | None, typer.Option(help="An existing TrainingRuntime, in place of the job's own.")] = None,
    submit: Annotated[bool, typer.Option("--submit", help="Create the job instead of printing it.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="With --submit: tell its logs, end as it ends; SIGTERM deletes it.")
    ] = False,
    preset: Preset = None,
    overrides: Overrides = None,
) -> None:
    """Print the Kubeflow Trainer v2 manifests of a training on several machines, or run it with --submit --follow."""
    import yaml

    from components.params import load_params
    from components.train_model.trainjob import TrainJobRequest
    from components.train_model.trainjob import train_job as manifests

    if follow and not submit:
        raise typer.BadParameter("--follow needs --submit")
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
        runtime=runtime,
    )
    if submit:
        _run(request, follow)
    else:
        print(yaml.safe_dump_all(manifests(request), sort_keys=False), end="")


def _run(request: TrainJobRequest, follow: bool) -> None:
    from components.train_model import trainjob_client
    from components.train_model.kubernetes_api import TrainerApi

    api = TrainerApi.connect(request.namespace)
    if follow:
        trainjob_client.run_train_job(request, api)
    else:
        trainjob_client.submit(request, api, print)
