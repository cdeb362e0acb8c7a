"""A packaged model on files: every transcript once, resumed where stopped; scores tell right signs from wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from packaging_inputs import TISSUES, Packaged, packaged

from components.artifacts import open_artifact
from components.batch_predict import predict as module
from components.batch_predict.packaged import PackagedModel, find_package, open_packaged
from components.batch_predict.predict import input_of, predict_annotation, read_transcripts
from components.batch_predict.score_variants import auroc, matched_controls, read_table, score, summary
from components.extract_sequences.transcripts import Transcript
from components.sequences import Genome, letters_of
from model.errors import InputError
from model.predictor import Predictor


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    return packaged(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def model(package: Packaged) -> PackagedModel:
    return open_packaged(package.out, threads=1)


@pytest.fixture(scope="module")
def folder(package: Packaged) -> Path:
    return find_package(package.out)


def test_every_transcript_is_predicted_once_in_genome_order(
    model: PackagedModel, folder: Path, raw_inputs: dict[str, Path], transcripts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "predictions.parquet"
    count = predict_annotation(folder, raw_inputs["genome"], raw_inputs["annotation"], out, tmp_path / "work")
    table = pq.read_table(out)
    payload = open_artifact(transcripts, "transcripts").payload
    expected = pq.read_table(payload / "transcripts.parquet", columns=["transcript_id", "rna"]).to_pylist()
    found = table.column("transcript_id").to_pylist()
    assert count == len(found) == len(set(found))
    assert set(found) >= {row["transcript_id"] for row in expected}
    assert json.loads(table.schema.metadata[b"tissues"]) == list(TISSUES)
    assert json.loads(table.schema.metadata[b"model"])["simulated"] is True
    genome, rows = read_transcripts(raw_inputs["genome"], raw_inputs["annotation"], 512, tmp_path)
    one = found.index(expected[7]["transcript_id"])
    assert rows[one].rna == expected[7]["rna"]
    alone = Predictor(model.predictor.backend, model.config).predict(
        [input_of(genome, rows[one], model.config.modalities)]
    )
    np.testing.assert_allclose(table.column("predicted")[one].as_py(), alone.log1p_tpm[0], atol=1e-5)
    with pytest.raises(InputError, match="no such file"):
        predict_annotation(folder, raw_inputs["genome"], raw_inputs["annotation"], out, tmp_path / "work")


def test_a_stopped_run_goes_on_and_ends_like_an_unbroken_one(
    folder: Path, raw_inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARD_TRANSCRIPTS", 100)
    predicted: list[int] = []
    whole: Callable[..., Any] = module._predicted

    def counted(genome: Genome, model: PackagedModel, rows: list[Transcript]) -> Any:
        if len(predicted) == 2 and not (tmp_path / "again").exists():
            raise KeyboardInterrupt
        predicted.append(len(rows))
        return whole(genome, model, rows)

    monkeypatch.setattr(module, "_predicted", counted)
    files = raw_inputs["genome"], raw_inputs["annotation"]
    with pytest.raises(KeyboardInterrupt):
        predict_annotation(folder, *files, tmp_path / "out.parquet", tmp_path / "work")
    assert list(tmp_path.iterdir()) == [tmp_path / "work"]
    (tmp_path / "again").touch()
    count = predict_annotation(folder, *files, tmp_path / "out.parquet", tmp_path / "work")
    assert sum(predicted) == count
    # Two processes, where this one may fork: the same table.
    predict_annotation(folder, *files, tmp_path / "unbroken.parquet", tmp_path / "other", processes=2, threads=1)
    assert pq.read_table(tmp_path / "out.parquet").equals(pq.read_table(tmp_path / "unbroken.parquet"))


def test_no_champion_is_told(tmp_path: Path, package: Packaged) -> None:
    with pytest.raises(InputError, match="a champion"):
        open_packaged(registry=str(tmp_path / "registry"))
    assert open_packaged(registry=str(package.registry), threads=1).about["version"]


def variants_of(genome: Genome, rows: list[Transcript], count: int) -> list[tuple[str, Transcript]]:
    """Changes of one base right at the TSS of single-transcript genes."""
    made = []
    for row in rows[:count]:
        base = letters_of(genome.window(row.contig, row.tss, row.tss + 1, "+"))
        made.append((f"{row.contig}:{row.tss + 1}:{base}:{'ACGT'[('ACGT'.index(base) + 1) % 4]}", row))
    return made


def test_signs_count_and_a_flipped_table_scores_the_opposite(
    model: PackagedModel, raw_inputs: dict[str, Path], tmp_path: Path
) -> None:
    genome, transcripts = read_transcripts(raw_inputs["genome"], raw_inputs["annotation"], 512, tmp_path)
    table = tmp_path / "eqtl.tsv"

    def write(slope_of: Callable[[str], float]) -> None:
        lines = ["variant\ttranscript_id\ttissue\tslope\tcontrol"]
        for number, (variant, row) in enumerate(variants_of(genome, transcripts, 24)):
            lines.append(f"{variant}\t{row.transcript_id}\tLiver\t{slope_of(variant)}\t{number % 2}")
        table.write_text("\n".join(lines) + "\n")

    write(lambda variant: 1.0)
    first, refused = score(model, genome, transcripts, read_table(table, model.config.tissues))
    assert refused == {}
    effects = {one.row.variant: one.effect for one in first}
    assert any(effects.values())
    for sign, expected in ((1, 1.0), (-1, 0.0)):
        write(lambda variant, sign=sign: sign * (effects[variant] or 1.0))  # type: ignore[misc]
        found = summary(*score(model, genome, transcripts, read_table(table, model.config.tissues)))
        cases = [one for one in first if not one.row.control]
        nonzero = sum(bool(one.effect) for one in cases)
        assert found["sign_accuracy"]["value"] == pytest.approx(expected * nonzero / len(cases))
        assert found["matched_pairs"] == 12


def test_auroc_equals_scikit_learns_and_controls_are_the_nearest() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    cases, controls = rng.integers(0, 9, 50) / 3, rng.integers(0, 7, 80) / 3
    labels = np.repeat([1, 0], [50, 80])
    assert auroc(cases, controls) == pytest.approx(roc_auc_score(labels, np.concatenate([cases, controls])))
    assert auroc(controls, cases) == pytest.approx(1 - auroc(cases, controls))


def test_a_table_that_cannot_be_read_is_named_by_line(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    for text, match in (
        ("variant\ttissue\n", "line 1"),
        ("variant\tgene_id\ttissue\tslope\nchr1:1:A:C\tG\tLiver\tx\n", "line 2: slope"),
        ("variant\tgene_id\ttissue\tslope\nchr1:1:A:C\tG\tMoon\t1\n", "line 2: tissue"),
        ("variant\tgene_id\ttissue\tslope\nchr1:1:A:C\t\tLiver\t1\n", "line 2: gene_id"),
    ):
        table.write_text(text)
        with pytest.raises(InputError, match=match):
            read_table(table, TISSUES)
    with pytest.raises(InputError, match="a table"):
        read_table(tmp_path / "absent", TISSUES)
    assert matched_controls([], []) == []
    assert summary([], {})["sign_accuracy"] is None
