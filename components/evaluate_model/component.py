"""Kubeflow wrapper of the evaluation step."""

from kfp import dsl


@dsl.component(base_image="isoformer-train", install_kfp_package=False)
def evaluate_model(
    raw: dsl.Input[dsl.Dataset],
    transcripts: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    card: dsl.Output[dsl.Markdown],
    params: str,
    work_root: str,
    registry: str,
) -> str:
    """Compare the model with baselines and the champion on unseen genes; returns "blessed" or "not blessed"."""
    from components.kubeflow import run_component, verdict_of

    inputs, pages = (
        {"raw": raw, "transcripts": transcripts, "model": model},
        {"report.html": report, "model_card.md": card},
    )
    run_component(
        "evaluate_model",
        inputs=inputs,
        params=params,
        work_root=work_root,
        out=evaluation,
        pages=pages,
        registry=registry,
    )
    return verdict_of(evaluation, metrics)
