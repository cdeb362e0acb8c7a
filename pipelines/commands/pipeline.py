"""`isoformer pipeline`: compile a Kubeflow pipeline, run it on this machine, or submit it to a cluster."""

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

Name = Annotated[str, typer.Option("--pipeline", help="Which pipeline; training if not given.")]
Images = Annotated[str, typer.Option("--images", help="Image name up to -data:TAG.")]
Tag = Annotated[str, typer.Option("--tag", help="Tag of the images; never one that moves.")]
Accelerator = Annotated[str, typer.Option("--accelerator", help="Resource name, e.g. nvidia.com/gpu.")]
Accelerators = Annotated[int, typer.Option("--accelerators", min=0, help="How many of it a machine that trains has.")]
Nodes = Annotated[int, typer.Option("--nodes", min=1, help="Machines that train; several as a TrainJob.")]
TrainingRuntime = Annotated[
    str, typer.Option("--training-runtime", help="TrainingRuntime of the TrainJob; '' lets it bring its own.")
]
MachineCpu = Annotated[str, typer.Option("--machine-cpu", help="Cores of each of several machines.")]
MachineMemory = Annotated[str, typer.Option("--machine-memory", help="Memory of each of several machines.")]
WorkClaim = Annotated[str, typer.Option("--work-claim", help="Claim that keeps checkpoints and notes over retries.")]
RegistrySecret = Annotated[
    str, typer.Option("--registry-secret", help="Secret with accesskey and secretkey, for a registry on S3.")
]
Owner = Annotated[str, typer.Option("--owner", help="Value of the owner label of every pod.")]
Host = Annotated[
    str, typer.Option("--host", envvar="KF_PIPELINES_ENDPOINT", help="Address of the Kubeflow Pipelines API.")
]
Namespace = Annotated[str, typer.Option("--namespace", help="Your profile's namespace, where Kubeflow has users.")]
TokenFile = Annotated[
    Path | None, typer.Option("--token-file", help="File of a bearer token; else KFP_TOKEN, or the pod's own token.")
]
CaFile = Annotated[Path | None, typer.Option("--ca-file", help="Bundle of certificates to trust.")]


def build(command: str) -> typer.Typer:
    """The application of `isoformer pipeline`."""
    app = plain_app("Compile a Kubeflow pipeline, run it on this machine, or submit it to a cluster.")
    for name, function in (
        ("compile", compile_pipeline),
        ("run", run_pipeline),
        ("submit", submit),
        ("status", status),
    ):
        app.command(name)(function)
    return app


def compile_pipeline(
    out: Annotated[Path | None, typer.Option("--out", help="The package; build/<pipeline>_pipeline.yaml.")] = None,
    pipeline: Name = "training",
    images: Images = "localhost/isoformer",
    tag: Tag = "dev",
    accelerator: Accelerator = "nvidia.com/gpu",
    accelerators: Accelerators = 0,
    nodes: Nodes = 1,
    training_runtime: TrainingRuntime = "isoformer-torch",
    machine_cpu: MachineCpu = "16",
    machine_memory: MachineMemory = "128Gi",
    work_claim: WorkClaim = "",
    registry_secret: RegistrySecret = "",
    owner: Owner = "isoformer",
    params: ParamsFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
) -> None:
    """Write the package that a Kubeflow installation takes; the resolved parameters are its default."""
    from pipelines.compile import compile_package
    from pipelines.policy import Cluster

    place = out or Path("build") / f"{pipeline.replace('-', '_')}_pipeline.yaml"
    cluster = Cluster(
        images=images,
        tag=tag,
        accelerator=accelerator,
        accelerators=accelerators,
        nodes=nodes,
        runtime=training_runtime,
        machine_cpu=machine_cpu,
        machine_memory=machine_memory,
        work_claim=work_claim,
        registry_secret=registry_secret,
        owner=owner,
    )
    compile_package(place, cluster, resolve(params, preset, overrides).to_json(), pipeline)
    typer.echo(f"wrote {place}")


def run_pipeline(
    data: Data = None,
    out: Annotated[Path | None, typer.Option("--out", help="Empty folder of the run; runs/pipeline-<n>.")] = None,
    work: Work = DEFAULT_WORK,
    registry: RegistryRoot = None,
    retries: Annotated[int, typer.Option("--retries", min=0, help="Further tries of a failed step.")] = 0,
    pipeline: Name = "training",
    variants: Annotated[str, typer.Option("--variants", help="Of prediction: a file in the data folder.")] = "",
    version: Annotated[str, typer.Option("--version", help="Of prediction and monitoring; the champion.")] = "",
    observations: Annotated[
        Path | None, typer.Option("--observations", help="Of monitoring: the folder that servers record to.")
    ] = None,
    in_containers: Annotated[
        bool, typer.Option("--in-containers", help="Steps run in the images (make images), without a network.")
    ] = False,
    images: Images = "localhost/isoformer",
    tag: Tag = "dev",
    params: ParamsFile = None,
    preset: Preset = None,
    overrides: Overrides = None,
) -> None:
    """Run a pipeline with kfp's local runner; training ends with a verdict and, if blessed, a registered version."""
    from pipelines import containers
    from pipelines.local_run import next_folder, run_locally
    from pipelines.outcome import print_outcome

    tree = resolve(params, preset, overrides, data=data, registry=registry)
    place = out or next_folder(Path("runs"), "pipeline")
    own = {"variants": variants, "version": version, "observations_uri": str(observations or "")}
    result = run_locally(
        tree,
        data=Path(tree.data.folder),
        out=place,
        work=work,
        registry=tree.package.registry,
        pipeline=pipeline,
        arguments={name: value for name, value in own.items() if value},
        retries=retries,
        images=containers.Images(prefix=images, tag=tag) if in_containers else None,
    )
    print_outcome(result)


def submit(
    package: Annotated[Path, typer.Argument(help="A package of `isoformer pipeline compile`.")],
    host: Host = "",
    arguments: Annotated[
        list[str] | None, typer.Option("--arg", help="name=value of a pipeline parameter, e.g. data_uri=…; repeatable.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Name of the run; the pipeline's name and the time.")] = "",
    experiment: Annotated[str, typer.Option("--experiment", help="Made if there is none.")] = "isoformer",
    cron: Annotated[str, typer.Option("--cron", help="Run it again and again: '0 0 3 * * 1' is Mondays at 3.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Tell of its steps until it has ended.")] = False,
    service_account: Annotated[str, typer.Option("--service-account", help="Of the pods.")] = "",
    namespace: Namespace = "",
    token_file: TokenFile = None,
    ca_file: CaFile = None,
) -> None:
    """Start a run of a compiled package on a cluster, or schedule it; prints the id alone on standard output."""
    from pipelines.packages import given_arguments, name_of
    from pipelines.remote import Endpoint, Remote

    # Checked before anything is asked of the cluster.
    values = given_arguments(package, arguments or [])
    remote = Remote(Endpoint(host=host, namespace=namespace, token_file=token_file, ca_file=ca_file))
    common = {"name": name or name_of(package), "experiment": experiment, "arguments": values}
    if cron:
        typer.echo(remote.schedule(package, cron=cron, service_account=service_account, **common))  # type: ignore[arg-type]
        return
    run_id = remote.submit(package, service_account=service_account, **common)  # type: ignore[arg-type]
    typer.echo(run_id)
    if wait:
        _end(remote.follow(run_id))


def status(
    run_id: Annotated[str, typer.Argument(help="What `submit` printed.")],
    host: Host = "",
    watch: Annotated[bool, typer.Option("--watch", help="Tell of its steps until it has ended.")] = False,
    namespace: Namespace = "",
    token_file: TokenFile = None,
    ca_file: CaFile = None,
) -> None:
    """Say how a run stands; status 1 where it has failed."""
    from pipelines.remote import Endpoint, Remote

    remote = Remote(Endpoint(host=host, namespace=namespace, token_file=token_file, ca_file=ca_file))
    now = remote.follow(run_id) if watch else remote.state(run_id)
    width = max([len(task.name) for task in now.tasks], default=0)
    for task in now.tasks:
        typer.echo(f"{task.name:<{width}}  {task.state.lower()}  {task.error}".rstrip())
    _end(now)


def _end(run: object) -> None:
    from pipelines.remote import RunState

    assert isinstance(run, RunState)
    typer.echo(f"{run.name}: {run.state.lower()} {run.error}".rstrip())
    typer.echo(run.link)
    if run.state in ("FAILED", "CANCELED"):
        raise typer.Exit(1)
