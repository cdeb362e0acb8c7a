"""Kubeflow wrapper of the run's summary: the exit handler of every pipeline."""

from kfp import dsl


@dsl.component(base_image="isoformer-data", install_kfp_package=False)
def summarise_run(
    summary: dsl.Output[dsl.Markdown],
    page: dsl.Output[dsl.HTML],
    work_root: str,
    status: dsl.PipelineTaskFinalStatus,
) -> None:
    """Write what came of the run, and the failure's cause, from Kubeflow's word and the steps' own notes."""
    from components.kubeflow import write_summary

    write_summary(status, work_root=work_root, summary=summary, page=page)
