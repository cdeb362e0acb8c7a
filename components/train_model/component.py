"""Kubeflow wrapper of the training step."""

from kfp import dsl


@dsl.component(base_image="isoformer-train", install_kfp_package=False)
def train_model(
    transcripts: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    params: str,
    work_root: str,
) -> None:
    """Train the network; a retried or evicted step goes on from its last checkpoint below `work_root`."""
    from components.kubeflow import run_component

    inputs = {"transcripts": transcripts}
    run_component("train_model", inputs=inputs, params=params, work_root=work_root, out=model)
