"""The prediction pipeline: a registered model on an annotation, or on a list of variants, to Parquet; its summary.

No postponed annotations here: kfp reads the types of the pipeline function's parameters from the function itself.
"""

from typing import Any

from pipelines.policy import Cluster, place

NAME = "isoformer-prediction"


def build(cluster: Cluster, params_json: str) -> Any:
    """The Kubeflow pipeline for a cluster; `params_json` is the default of its parameter `params`.

    Its other parameters: `data_uri`, folder with genome and annotation; `variants`, a file in it whose effects are
    predicted instead of all transcripts; `registry` and `version` (empty = its champion) of the model; `work_root`,
    where finished shards survive a retry.
    """
    from kfp import dsl

    from components.batch_predict.component import batch_predict
    from components.summarise_run.component import summarise_run

    @dsl.pipeline(name=NAME, description="Expression of every transcript of an annotation, or effects of variants.")
    def prediction_pipeline(
        data_uri: str,
        registry: str,
        version: str = "",
        variants: str = "",
        params: str = params_json,
        work_root: str = cluster.work_root,
    ) -> None:
        summary = place(summarise_run(work_root=work_root), cluster)
        with dsl.ExitHandler(summary, name="steps"):
            raw = dsl.importer(artifact_uri=data_uri, artifact_class=dsl.Dataset, reimport=True)
            raw.set_display_name("raw files")
            predicted = batch_predict(
                raw=raw.output,
                params=params,
                work_root=work_root,
                registry=registry,
                version=version,
                variants=variants,
            )
            place(predicted, cluster)

    return prediction_pipeline
