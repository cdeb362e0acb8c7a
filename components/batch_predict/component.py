"""Kubeflow wrapper of the batch prediction step."""

from kfp import dsl


@dsl.component(base_image="isoformer-package", install_kfp_package=False)
def batch_predict(
    raw: dsl.Input[dsl.Dataset],
    predictions: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    params: str,
    work_root: str,
    registry: str,
    version: str = "",
    variants: str = "",
) -> None:
    """Predict an annotation, or the effects of `variants`, a file among the raw ones, with a version of `registry`."""
    from components.kubeflow import log_counts, run_component

    run_component(
        "batch_predict",
        inputs={"raw": raw},
        params=params,
        work_root=work_root,
        out=predictions,
        pages={"report.html": report},
        registry=registry,
        version=version,
        variants=variants,
    )
    log_counts(predictions, metrics)
