"""Steps in containers on this machine: kfp's DockerRunner, with a locked-down container and exit codes that are true.

Works with Docker, and with podman's socket (`podman system service`, DOCKER_HOST=unix:///…).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.harness import UnavailableError
from components.run_notes import RUN_VARIABLE
from pipelines.policy import USER_ID

# Time for a stopped step to save where it stands.
GRACE_S = 120


@dataclass(frozen=True, kw_only=True)
class Images:
    """Which images: the prefix before `-data:<tag>`, and the tag."""

    prefix: str
    tag: str


@contextlib.contextmanager
def container_runner(writable: Sequence[Path], readable: Sequence[Path]) -> Iterator[Any]:
    """A kfp runner whose containers see only these folders, at the places where they are, and no network.

    They run as an ordinary user on a read-only root file system without capabilities. Root gives the writable folders
    to that user. Raises `UnavailableError` where no engine answers.
    """
    import docker
    from kfp import local
    from kfp.local import docker_task_handler

    with _engine(docker):
        pass
    user, group = (os.getuid(), os.getgid()) if os.getuid() else (USER_ID, USER_ID)
    for folder in writable:
        folder.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            _give(folder, user, group)
    folders = {str(path): {"bind": str(path), "mode": "ro"} for path in readable}
    folders |= {str(path): {"bind": str(path), "mode": "rw"} for path in writable}

    def run(client: Any, image: str, command: list[str], volumes: Mapping[str, Any], **settings: Any) -> int:
        given = {**settings.pop("environment", {}), RUN_VARIABLE: os.environ[RUN_VARIABLE]}
        return _run(client, image, command, {**volumes, **folders}, given, settings)

    runner = local.DockerRunner(
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        user=f"{user}:{group}",
        tmpfs={"/tmp": "mode=1777"},  # noqa: S108 a path in the container
        shm_size="1g",
        pids_limit=500,
    )
    original = docker_task_handler.run_docker_container
    docker_task_handler.run_docker_container = run
    try:
        yield runner
    finally:
        docker_task_handler.run_docker_container = original


def _run(
    client: Any,
    image: str,
    command: list[str],
    volumes: Mapping[str, Any],
    environment: Mapping[str, str],
    settings: Mapping[str, Any],
) -> int:
    """Run a container to its end and return its status.

    In place of kfp's own: that has the engine remove the container at its end, and reads "no such container", as it
    comes where the container ended before it was asked, as success.
    """
    import docker

    try:
        container = client.containers.run(
            image, command, detach=True, volumes=volumes, environment=dict(environment), **settings
        )
    except docker.errors.ImageNotFound:
        raise UnavailableError(f"image {image}: none of that name here. Build it: make images") from None
    try:
        for line in container.logs(stream=True, follow=True):
            print(line.decode(errors="replace"), end="")
        return int(container.wait()["StatusCode"])
    except BaseException:
        # SIGTERM to the run: let the step save where it stands.
        container.stop(timeout=GRACE_S)
        raise
    finally:
        container.remove(force=True)


@contextlib.contextmanager
def _engine(docker: Any) -> Iterator[Any]:
    try:
        client = docker.from_env()
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        hint = "Start Docker, or: podman system service --time=0 & and set DOCKER_HOST to its socket."
        raise UnavailableError(f"no container engine answers: {error}. {hint}") from None
    try:
        yield client
    finally:
        client.close()


def _give(folder: Path, user: int, group: int) -> None:
    os.chown(folder, user, group)
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(root, name), user, group, follow_symlinks=False)
