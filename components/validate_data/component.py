"""Kubeflow wrapper of the validation step."""

from kfp import dsl


@dsl.component(base_image="isoformer-data", install_kfp_package=False)
def validate_data(
    raw: dsl.Input[dsl.Dataset],
    validation: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    params: str,
    work_root: str,
) -> None:
    """Check the raw files; stop on bad data."""
    from components.kubeflow import run_component

    pages = {"report.html": report}
    run_component("validate_data", inputs={"raw": raw}, params=params, work_root=work_root, out=validation, pages=pages)
