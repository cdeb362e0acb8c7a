"""Kubeflow wrappers of the experiments: which trials, one trial, the report of all."""

from typing import List  # noqa: UP035 - kfp reads this annotation

from kfp import dsl


@dsl.component(base_image="isoformer-train", install_kfp_package=False)
def plan_trials(params: str, suite: str, seeds: int, pretrained: str) -> List[str]:  # noqa: UP006
    """Name the trials of a suite, one text each: what is fanned out over is parameters, never artifacts."""
    from components.experiments.kubeflow import trial_names

    return trial_names(params, suite, seeds, pretrained)


@dsl.component(base_image="isoformer-train", install_kfp_package=False)
def run_trial(
    transcripts: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    trial: str,
    params: str,
    suite: str,
    pretrained: str,
    work_root: str,
) -> None:
    """Train and evaluate one configuration with one seed; a retry goes on from the last checkpoint."""
    from components.experiments.kubeflow import train_and_evaluate

    train_and_evaluate(transcripts, model, evaluation, trial, params, suite, pretrained, work_root)


@dsl.component(base_image="isoformer-train", install_kfp_package=False)
def report_experiments(
    transcripts: dsl.Input[dsl.Dataset],
    evaluations: dsl.Input[List[dsl.Artifact]],  # noqa: UP006
    experiments: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    tables: dsl.Output[dsl.Markdown],
    params: str,
    suite: str,
    seeds: int,
    pretrained: str,
) -> None:
    """Write the tables of a suite beside the published ones."""
    from components.experiments.kubeflow import write_pages

    write_pages(transcripts, evaluations, experiments, report, tables, params, suite, seeds, pretrained)
