"""Kubeflow wrapper of the packaging step."""

from kfp import dsl


@dsl.component(base_image="isoformer-package", install_kfp_package=False)
def package_model(
    transcripts: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    bento: dsl.Output[dsl.Model],
    params: str,
    work_root: str,
    registry: str,
) -> None:
    """Build the Bento of a blessed model, boot it, ask it, and register it at `registry`."""
    from components.kubeflow import run_component

    inputs = {"transcripts": transcripts, "model": model, "evaluation": evaluation}
    run_component("package_model", inputs=inputs, params=params, work_root=work_root, out=bento, registry=registry)
