"""The training pipeline: raw files → validate → extract → train → evaluate → (if blessed) package; then its summary.

No postponed annotations here: kfp reads the types of the pipeline function's parameters from the function itself.
"""

from typing import Any

from pipelines.policy import Cluster, place

NAME = "isoformer-training"


def build(cluster: Cluster, params_json: str) -> Any:
    """The Kubeflow pipeline for a cluster; `params_json` is the default of its parameter `params`.

    Its other parameters: `data_uri`, folder of the raw files; `registry`, where versions are kept (no default: a folder
    in a pod would be lost with it); `work_root`, where checkpoints survive a retry.
    """
    from kfp import dsl

    from components.summarise_run.component import summarise_run

    @dsl.pipeline(name=NAME, description="Raw genome, annotation and expression to a judged, packaged model.")
    def training_pipeline(
        data_uri: str, registry: str, params: str = params_json, work_root: str = cluster.work_root
    ) -> None:
        summary = place(summarise_run(work_root=work_root), cluster)
        with dsl.ExitHandler(summary, name="steps"):
            add_training_steps(cluster, data_uri=data_uri, registry=registry, params=params, work_root=work_root)

    return training_pipeline


def add_training_steps(cluster: Cluster, *, data_uri: Any, registry: Any, params: Any, work_root: Any) -> None:
    """The steps from raw files to a registered model, into the pipeline that is being described."""
    from kfp import dsl

    from components.evaluate_model.component import evaluate_model
    from components.extract_sequences.component import extract_sequences
    from components.package_model.component import package_model
    from components.train_model.component import train_model
    from components.train_on_machines.component import train_on_machines
    from components.validate_data.component import validate_data

    settings = {"params": params, "work_root": work_root}
    raw = dsl.importer(artifact_uri=data_uri, artifact_class=dsl.Dataset, reimport=True)
    raw.set_display_name("raw files")
    validated = place(validate_data(raw=raw.output, **settings), cluster)
    validation = validated.outputs["validation"]
    extracted = place(extract_sequences(raw=raw.output, validation=validation, **settings), cluster)
    transcripts = extracted.outputs["transcripts"]
    train = train_model if cluster.nodes == 1 else train_on_machines
    trained = place(train(transcripts=transcripts, **settings), cluster)
    model = trained.outputs["model"]
    evaluated = place(
        evaluate_model(raw=raw.output, transcripts=transcripts, model=model, registry=registry, **settings), cluster
    )
    with dsl.If(evaluated.outputs["Output"] == "blessed", name="blessed"):
        packaged = package_model(
            transcripts=transcripts,
            model=model,
            evaluation=evaluated.outputs["evaluation"],
            registry=registry,
            **settings,
        )
        place(packaged, cluster)
