"""The monitoring pipeline: what servers were asked against the training data; on drift, a training on today's files.

No postponed annotations here: kfp reads the types of the pipeline function's parameters from the function itself.
"""

from typing import Any

from pipelines.policy import Cluster, place
from pipelines.training_pipeline import add_training_steps

NAME = "isoformer-monitoring"


def build(cluster: Cluster, params_json: str) -> Any:
    """The Kubeflow pipeline for a cluster; `params_json` is the default of its parameter `params`.

    Its other parameters: `observations_uri`, folder that servers record to; `data_uri`, `registry` and `work_root` as
    of the training pipeline; `version`, the served one (empty = the champion). The gates judge a retrained model
    against the champion as ever: drift alone promotes nothing.
    """
    from kfp import dsl

    from components.monitor_drift.component import monitor_drift
    from components.summarise_run.component import summarise_run

    @dsl.pipeline(name=NAME, description="Drift of served transcripts; where there is, a new training.")
    def monitoring_pipeline(
        observations_uri: str,
        data_uri: str,
        registry: str,
        version: str = "",
        params: str = params_json,
        work_root: str = cluster.work_root,
    ) -> None:
        summary = place(summarise_run(work_root=work_root), cluster)
        with dsl.ExitHandler(summary, name="steps"):
            recorded = dsl.importer(artifact_uri=observations_uri, artifact_class=dsl.Dataset, reimport=True)
            recorded.set_display_name("observations")
            watched = monitor_drift(
                observations=recorded.output, params=params, work_root=work_root, registry=registry, version=version
            )
            place(watched, cluster)
            with dsl.If(watched.outputs["Output"] == "drift", name="drift"):
                add_training_steps(cluster, data_uri=data_uri, registry=registry, params=params, work_root=work_root)

    return monitoring_pipeline
