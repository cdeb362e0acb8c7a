"""Kubeflow wrapper of the training step on several machines."""

from kfp import dsl


@dsl.component(base_image="isoformer-train", install_kfp_package=False)
def train_on_machines(
    transcripts: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    params: str,
    work_root: str,
) -> None:
    """Have a TrainJob train the network; a retried step follows its job, or goes on from its last checkpoint."""
    from components.kubeflow import run_component

    inputs = {"transcripts": transcripts}
    run_component("train_on_machines", inputs=inputs, params=params, work_root=work_root, out=model)
