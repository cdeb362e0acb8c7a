"""The packaging step: from a blessed model to a Bento that was booted, asked, and then registered."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.artifacts import (
    AlreadyComplete,
    Artifact,
    ArtifactWriter,
    config_digest,
    open_artifact,
    sha256_file,
    write_artifact,
    write_json,
)
from components.package_model.bento import (
    NAME,
    PACKAGE,
    WEIGHTS,
    build,
    requirements,
    seal,
    stage_code,
)
from components.package_model.bill_of_materials import bill_of_materials
from components.package_model.boot import ask, booted
from components.package_model.golden import Item, golden_entries, golden_items, inputs_of
from components.package_model.profile import training_profile
from components.package_model.promotion import register
from components.params import Params
from components.registry import version_name
from components.work_folders import work_folder
from model.errors import InputError

if TYPE_CHECKING:
    from model.config import IsoFormerConfig

KIND = "bento"


@dataclass(frozen=True)
class Subject:
    """What is packaged, opened and verified; `dataset` describes the transcripts."""

    transcripts: Artifact
    model: Artifact
    evaluation: Artifact
    dataset: dict[str, Any]
    metrics: dict[str, Any]
    verdict: dict[str, Any]


def run(inputs: Mapping[str, Path], params: Params, out: Path, work: Path) -> None:
    """Package `inputs["model"]`, blessed by `inputs["evaluation"]`, with golden questions from `inputs["transcripts"]`.

    The artifact appears at `out` only after the Bento reproduced its golden answers over HTTP; then it is registered,
    and promoted where params.package says so. Raises `InputError` where the model is not blessed, with the reasons.
    """
    subject = _open(inputs)
    config = _digested(params)
    try:
        with write_artifact(out, kind=KIND, inputs=inputs, config=config) as writer:
            # Absolute: BentoML runs in another folder.
            folder = work_folder(work, "package_model", inputs, config, exclusive=True).resolve()
            _package(subject, params, writer, folder)
    except AlreadyComplete:
        # A run that ended between writing and registering is completed here.
        register(open_artifact(out, KIND), subject.metrics, subject.verdict, params.package)
        raise
    register(open_artifact(out, KIND), subject.metrics, subject.verdict, params.package)


def _digested(params: Params) -> dict[str, Any]:
    """The package section without its locations: where a version is stored and its key lies change nothing of it."""
    section = params.config("package")["package"]
    return {"package": {name: value for name, value in section.items() if name not in ("registry", "signing_key")}}


def _open(inputs: Mapping[str, Path]) -> Subject:
    transcripts = open_artifact(inputs["transcripts"], "transcripts")
    model = open_artifact(inputs["model"], "model")
    evaluation = open_artifact(inputs["evaluation"], "evaluation")
    for name, artifact in (("model", model), ("transcripts", transcripts)):
        if evaluation.manifest["inputs"].get(name) != artifact.digest:
            raise InputError(
                where=str(evaluation.path),
                expected=f"an evaluation of {artifact.path}",
                found=f"one of another {name} artifact",
                fix="Evaluate this model on these transcripts, then package it.",
            )
    verdict = _read(evaluation, "verdict.json")
    if verdict["blessed"] is not True:
        raise InputError(
            where=str(model.path),
            expected="a blessed model",
            found="one that is not: " + " ".join(verdict["reasons"]),
            fix="Only a blessed model is packaged; see the evaluation's report.html.",
        )
    dataset, metrics = _read(transcripts, "dataset.json"), _read(evaluation, "metrics.json")
    return Subject(transcripts, model, evaluation, dataset, metrics, verdict)


def _package(subject: Subject, params: Params, writer: ArtifactWriter, folder: Path) -> None:
    """Fill `writer.payload` with the Bento, its golden questions and bento.json; `folder` is scratch space."""
    clock = _Clock()
    source, home = folder / "source", folder / "bentoml"
    for stale in (source, home):
        shutil.rmtree(stale, ignore_errors=True)
    package = source / PACKAGE
    package.mkdir(parents=True)
    home.mkdir()
    code_digest = stage_code(source, torch=params.package.torch)
    package_digest = config_digest(
        {"code": code_digest, "evaluation": subject.evaluation.digest, "config": _digested(params)}
    )
    version = version_name(subject.model.digest, package_digest)
    exported = _export(subject, params, package, folder)
    clock.lap("export")
    about = _about(subject, version, code_digest, exported)
    parts = {file.name: sha256_file(file) for file in sorted(package.iterdir())}
    write_json(package / "bom.json", bill_of_materials(requirements(torch=params.package.torch), about, parts))
    seal(source, about)
    bento = build(source, version, home)
    clock.lap("build")
    with booted(bento, home, folder / "server.log") as address:
        clock.lap("boot")
        difference = ask(address, exported.entries)
    clock.lap("ask")
    _within("HTTP answers", difference, exported.tolerance)
    shutil.copytree(bento, writer.payload / "bento")
    shutil.copyfile(package / "golden.json", writer.payload / "golden.json")
    record = {
        "name": NAME,
        "version": version,
        "model_digest": subject.model.digest,
        "code_digest": code_digest,
        "package_digest": package_digest,
        "onnx_sha256": sha256_file(package / "model.onnx"),
        "dataset_version": subject.dataset["dataset_version"],
        "simulated": subject.dataset["simulated"],
        "int8": exported.int8,
        "bento": "bento",
        "onnx": f"bento/src/{PACKAGE}/model.onnx",
    }
    write_json(writer.payload / "bento.json", record)
    writer.run.update(seconds_of=clock.seconds, largest_http_difference=difference, parity=exported.parity)


@dataclass(frozen=True)
class _Exported:
    """`parity` of the float32 graph, what `int8` weights changed (None: float32 is served), golden `entries`."""

    parity: dict[str, Any]
    int8: dict[str, Any] | None
    entries: list[dict[str, Any]]
    tolerance: float


def _export(subject: Subject, params: Params, package: Path, folder: Path) -> _Exported:
    """Write model.onnx, config.json and golden.json into `package`; `folder` is scratch space."""
    import torch

    from model.export import export_onnx, parity_report
    from model.weights import load_model

    threads = params.runtime.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    model = load_model(subject.model.payload)
    items = golden_items(subject.transcripts.payload, model.config.modalities, params.package.golden_transcripts)
    entries = golden_entries(items, model)
    # The exporter works in sequence: a second thread would only spin beside it.
    torch.set_num_threads(1)
    limit = params.package.max_int8_difference
    # A graph with its weights in a file beside it cannot be renamed: it is written where it is to stay.
    graph = package / "model.onnx" if limit is None else folder / "float32.onnx"
    export_onnx(model, graph)
    torch.set_num_threads(threads)
    parity = parity_report(model, graph, inputs_of(items))
    _within("ONNX answers", parity["max_abs_difference_log1p_tpm"], params.package.tolerance)
    int8 = None if limit is None else _quantized(graph, package / "model.onnx", model.config, items, limit)
    shutil.copyfile(subject.model.payload / "config.json", package / "config.json")
    if params.package.torch:
        for weights in subject.model.payload.glob(WEIGHTS):
            shutil.copyfile(weights, package / weights.name)
    profile = training_profile(subject.transcripts.payload, subject.evaluation.payload, model.config.modalities)
    write_json(package / "profile.json", profile)
    intervals = subject.evaluation.payload / "intervals.json"
    if intervals.is_file():
        shutil.copyfile(intervals, package / "intervals.json")
    # Entries hold the evaluated network's answers either way; int8 may be as far from float32 as was asked for.
    tolerance = params.package.tolerance + (limit or 0.0)
    write_json(package / "golden.json", {"tolerance": tolerance, "entries": entries})
    return _Exported(parity, int8, entries, tolerance)


def _quantized(graph: Path, target: Path, config: IsoFormerConfig, items: list[Item], limit: float) -> dict[str, Any]:
    """Write the graph with int8 weights to `target`; returns what that changes, at most `limit` (log1p TPM)."""
    from model.quantize import int8_report, quantize_int8

    quantize_int8(graph, target)
    report = int8_report(graph, target, config, inputs_of(items))
    difference = report["max_abs_difference_log1p_tpm"]
    if not difference <= limit:
        raise InputError(
            where="package.max_int8_difference",
            expected=f"answers of int8 weights within {limit:g} log1p TPM of those of float32",
            found=f"a difference of {difference:.3g}",
            fix="Raise it if that is good enough, or set it to null and serve float32.",
        )
    return report


def _within(what: str, difference: float, tolerance: float) -> None:
    # Written so that NaN fails too.
    if not difference <= tolerance:
        raise RuntimeError(
            f"{what} differ from PyTorch's by {difference:.3g} log1p TPM; at most {tolerance:g} is allowed"
        )


def _about(subject: Subject, version: str, code_digest: str, exported: _Exported) -> dict[str, Any]:
    """What the server tells of its model."""
    scores = subject.metrics["model"]
    return {
        "schema_version": 1,
        "name": NAME,
        "version": version,
        "model_digest": subject.model.digest,
        "code_digest": code_digest,
        "evaluation_digest": subject.evaluation.digest,
        "dataset_version": subject.dataset["dataset_version"],
        "simulated": subject.dataset["simulated"],
        "metrics": {name: figure for name, figure in scores.items() if name != "per_tissue"},
        "card": (subject.evaluation.payload / "model_card.md").read_text(encoding="utf-8"),
        "onnx_opset": exported.parity["opset"],
        "weights": "int8" if exported.int8 else "float32",
        "int8": exported.int8,
        # Until an evaluation measures its variant effects, the server marks them unvalidated.
        "variant_score": subject.metrics.get("variant_score"),
    }


def _read(artifact: Artifact, name: str) -> dict[str, Any]:
    return dict(json.loads((artifact.payload / name).read_text(encoding="utf-8")))


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = round(now - self._last, 2)
        self._last = now
