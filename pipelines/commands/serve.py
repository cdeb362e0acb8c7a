"""`isoformer serve`: the server of a registered version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import ParamsFile, RegistryRoot, plain_app, resolve


def build(command: str) -> typer.Typer:
    """The application of `isoformer serve`."""
    app = plain_app()
    app.command("serve")(serve)
    return app


def serve(
    registry: RegistryRoot = None,
    version: Annotated[str | None, typer.Option("--version", help="A version; the champion if not given.")] = None,
    bento: Annotated[Path | None, typer.Option("--bento", help="A bento artifact instead of a version.")] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="Transcripts artifact, for questions by transcript id.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on.")] = 3000,
    threads: Annotated[int, typer.Option("--threads", help="CPU threads; 0 = all cores that it may use.")] = 0,
    backend: Annotated[
        str, typer.Option("--backend", help="onnx (CPU), or torch (GPU) where package.torch=true packaged its weights.")
    ] = "onnx",
    public_key: Annotated[
        Path | None, typer.Option("--public-key", help="Serve only what the private half of this key signed.")
    ] = None,
    signature: Annotated[Path | None, typer.Option("--signature", help="With --bento: its signature.")] = None,
    api_keys: Annotated[
        Path | None, typer.Option("--api-keys", help="File of keys, one per line; clients must send one.")
    ] = None,
    observations: Annotated[
        Path | None, typer.Option("--observations", help="Folder to record lengths and predictions in, for monitoring.")
    ] = None,
    follow: Annotated[
        float, typer.Option("--follow", help="Seconds between looks for a new champion; 0 = stay with this one.", min=0)
    ] = 0,
    params: ParamsFile = None,
) -> None:
    """Serve the champion of the registry until stopped; ready once it reproduced its own golden answers."""
    from components.artifacts import open_artifact
    from serving.serve import main

    if reference is not None:
        open_artifact(reference, "transcripts")
    root = resolve(params, None, None, registry=registry).package.registry
    status = main(
        bento,
        registry=root,
        version=version,
        host=host,
        port=port,
        reference=reference,
        threads=threads,
        backend=backend,
        public_key=public_key,
        signature=signature,
        api_keys=api_keys,
        observations=observations,
        follow_s=follow,
    )
    raise typer.Exit(status)
