"""The experiments pipeline: raw files → validate → extract → every trial of a suite, side by side → their report.

No postponed annotations here: kfp reads the types of the pipeline function's parameters from the function itself.
"""

from typing import Any

from pipelines.policy import Cluster, place

NAME = "isoformer-experiments"
# Pods of trials at a time; Kubernetes queues what has no room, but a suite should not fill a cluster.
TRIALS_AT_ONCE = 8


def build(cluster: Cluster, params_json: str) -> Any:
    """The Kubeflow pipeline for a cluster; `params_json` is the default of its parameter `params`.

    Its other parameters: `data_uri`, folder of the raw files; `suite` and `seeds` as of `isoformer experiments run`;
    `pretrained`, JSON of checkpoints by tower on the work claim, for suite pre-training; `work_root`, where
    checkpoints survive a retry.
    """
    from kfp import dsl

    from components.experiments.component import plan_trials, report_experiments, run_trial
    from components.extract_sequences.component import extract_sequences
    from components.summarise_run.component import summarise_run
    from components.validate_data.component import validate_data

    @dsl.pipeline(name=NAME, description="A suite of trainings on one data set, and the paper's tables of it.")
    def experiments_pipeline(
        data_uri: str,
        suite: str = "modalities",
        seeds: int = 5,
        params: str = params_json,
        pretrained: str = "{}",
        work_root: str = cluster.work_root,
    ) -> None:
        settings = {"params": params, "work_root": work_root}
        asked = {"params": params, "suite": suite, "pretrained": pretrained}
        summary = place(summarise_run(work_root=work_root), cluster)
        with dsl.ExitHandler(summary, name="steps"):
            raw = dsl.importer(artifact_uri=data_uri, artifact_class=dsl.Dataset, reimport=True)
            raw.set_display_name("raw files")
            validated = place(validate_data(raw=raw.output, **settings), cluster)
            validation = validated.outputs["validation"]
            extracted = place(extract_sequences(raw=raw.output, validation=validation, **settings), cluster)
            transcripts = extracted.outputs["transcripts"]
            planned = place(plan_trials(seeds=seeds, **asked), cluster)
            with dsl.ParallelFor(planned.output, name="trials", parallelism=TRIALS_AT_ONCE) as trial:
                ran = place(run_trial(transcripts=transcripts, trial=trial, work_root=work_root, **asked), cluster)
            evaluations = dsl.Collected(ran.outputs["evaluation"])
            place(report_experiments(transcripts=transcripts, evaluations=evaluations, seeds=seeds, **asked), cluster)

    return experiments_pipeline
