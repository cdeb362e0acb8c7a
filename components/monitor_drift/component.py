"""Kubeflow wrapper of the monitoring step."""

from kfp import dsl


@dsl.component(base_image="isoformer-package", install_kfp_package=False)
def monitor_drift(
    observations: dsl.Input[dsl.Dataset],
    drift: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    params: str,
    work_root: str,
    registry: str,
    version: str = "",
) -> str:
    """Compare what servers of a version recorded with its training data; returns drift, stable or too few."""
    from components.kubeflow import drift_of, run_component

    run_component(
        "monitor_drift",
        inputs={"observations": observations},
        params=params,
        work_root=work_root,
        out=drift,
        pages={"report.html": report},
        registry=registry,
        version=version,
    )
    return drift_of(drift, metrics)
