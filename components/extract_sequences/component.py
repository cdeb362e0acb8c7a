"""Kubeflow wrapper of the extraction step."""

from kfp import dsl


@dsl.component(base_image="isoformer-data", install_kfp_package=False)
def extract_sequences(
    raw: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Artifact],
    transcripts: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    params: str,
    work_root: str,
) -> None:
    """Make sequences, labels and splits of the raw files."""
    from components.kubeflow import run_component

    inputs = {"raw": raw, "validation": validation}
    pages = {"report.html": report}
    run_component("extract_sequences", inputs=inputs, params=params, work_root=work_root, out=transcripts, pages=pages)
