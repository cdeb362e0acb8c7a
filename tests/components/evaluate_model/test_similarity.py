"""What test transcripts share with training: neighbours, leaks, and the skill of each kind of transcript."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import linregress, spearmanr
from sklearn.metrics import r2_score

from components.evaluate_model.examples import Examples
from components.evaluate_model.homology import nearest_neighbour
from components.evaluate_model.leakage import find_leakage
from components.evaluate_model.metrics import GeneGroups
from components.evaluate_model.residuals import calibration
from components.evaluate_model.scores import Scorer
from components.evaluate_model.strata import score_strata, strata_of


@pytest.fixture(scope="module")
def splits(transcripts: Path) -> tuple[Examples, Examples, Examples]:
    payload = transcripts / "payload"
    return Examples.read(payload, "train"), Examples.read(payload, "valid"), Examples.read(payload, "test")


def test_a_copied_transcript_finds_its_original_and_its_labels(splits):
    """Each test transcript becomes a copy of a training one: the neighbour is found, and its labels are returned."""
    train, valid, test = splits
    donors = np.random.default_rng(0).permutation(len(train))[: len(test)]
    copied = dataclasses.replace(
        test, rna=[train.rna[row] for row in donors], protein=[train.protein[row] for row in donors]
    )
    copies = dataclasses.replace(
        valid, rna=train.rna[: len(valid)], protein=train.protein[: len(valid)], labels=train.labels[: len(valid)]
    )
    predicted, neighbours, prior = nearest_neighbour(train, copies, copied)
    np.testing.assert_array_equal(neighbours.row[:, 0], donors)
    np.testing.assert_array_equal(neighbours.homology, 1)
    assert prior == 0.01
    np.testing.assert_allclose(predicted, train.labels[donors], atol=0.25)


def test_half_a_copy_is_half_alike_and_strangers_are_not(splits):
    train, valid, test = splits
    half = dataclasses.replace(
        test, rna=[rna[: len(rna) // 2] for rna in train.rna[: len(test)]], protein=[""] * len(test)
    )
    assert (nearest_neighbour(train, valid, half)[1].homology == 1).all()  # of the shorter one, all
    mixed = [mine[:75] + other[:75] for mine, other in zip(train.rna, test.rna, strict=False)]
    found = nearest_neighbour(train, valid, dataclasses.replace(test, rna=mixed[: len(test)], protein=[""] * len(test)))
    assert ((found[1].homology > 0.3) & (found[1].homology < 0.6)).all()
    strange = dataclasses.replace(test, protein=[""] * len(test))
    predicted, neighbours, _ = nearest_neighbour(train, valid, strange)
    assert neighbours.homology.max() < 0.05
    np.testing.assert_allclose(
        predicted[neighbours.homology == 0],
        np.tile(train.labels.mean(axis=0), (1, 1)).repeat(int((neighbours.homology == 0).sum()), axis=0),
        rtol=1e-5,
    )


def leaked(transcripts: Path, folder: Path, column: str, value) -> Path:
    """A copy of the table in which one training row takes `value` in `column`."""
    table = pq.read_table(transcripts / "payload" / "transcripts.parquet")
    row = table["split"].to_pylist().index("train")
    values = table[column].to_pylist()
    values[row] = value(table)
    index = table.schema.get_field_index(column)
    changed = table.set_column(index, table.schema.field(index), pa.array(values, type=table.schema.field(index).type))
    pq.write_table(changed, folder / "transcripts.parquet")
    return folder


def of_test(column: str):
    return lambda table: table[column].to_pylist()[table["split"].to_pylist().index("test")]


@pytest.mark.parametrize(("column", "kind"), [("gene_id", "genes"), ("rna", "RNAs"), ("protein", "proteins")])
def test_one_shared_gene_rna_or_protein_is_found(transcripts, tmp_path, column, kind):
    assert find_leakage(transcripts / "payload", {}).found == {}
    folder = leaked(transcripts, tmp_path, column, of_test(column))
    assert find_leakage(folder, {}).found == {kind: 1}


def test_windows_count_where_the_policy_promises_that_they_are_apart(transcripts):
    found = find_leakage(transcripts / "payload", {"split_policy": {"exclude_overlapping_windows": True}})
    table = pq.read_table(transcripts / "payload" / "transcripts.parquet").to_pylist()
    expected = sum(
        any(
            other["split"] != "test"
            and other["window_start"] < row["window_end"]
            and row["window_start"] < other["window_end"]
            for other in table
        )
        for row in table
        if row["split"] == "test"
    )
    assert found.found == {"DNA windows": expected}
    assert find_leakage(transcripts / "payload", {}).shared["DNA windows"] == expected


def scored(rows: int = 150) -> tuple[Scorer, np.ndarray]:
    generator = np.random.default_rng(0)
    groups = GeneGroups.of([f"g{number:02d}" for number in generator.integers(40, size=rows)])
    observed = generator.normal(loc=2, size=(rows, 3)).astype(np.float32)
    predicted = (observed * 0.5 + 1 + generator.normal(scale=0.3, size=observed.shape)).astype(np.float32)
    return Scorer(observed, groups, resamples=300, rank_resamples=100, confidence=0.95, seed=0), predicted


def test_strata_partition_the_transcripts_and_equal_scikit_learn(splits):
    test = splits[2]
    groups = GeneGroups.of(test.gene_ids)
    scorer = Scorer(test.labels, groups, resamples=200, rank_resamples=100, confidence=0.95, seed=0)
    predicted = (test.labels + np.random.default_rng(0).normal(size=test.labels.shape)).astype(np.float32)
    strata = strata_of(test, np.linspace(0, 1, len(test)))
    for partition in {item.partition for item in strata}:
        covered = np.sum([item.rows for item in strata if item.partition == partition], axis=0)
        np.testing.assert_array_equal(covered, 1)
    for item, score in zip(strata, score_strata(scorer, strata, predicted), strict=True):
        if score.transcripts < 10:
            assert np.isnan(score.r2.value)
            continue
        y, p = test.labels[item.rows].astype(float), predicted[item.rows].astype(float)
        assert score.r2.value == pytest.approx(r2_score(y, p), abs=1e-6)
        assert score.spearman.value == pytest.approx(
            np.mean([spearmanr(y[:, t], p[:, t]).statistic for t in range(y.shape[1])]), abs=1e-6
        )
        assert score.bias.value == pytest.approx((p - y).mean(), abs=1e-6)
        assert score.r2.low <= score.r2.value <= score.r2.high
        assert score.bias.low <= score.bias.value <= score.bias.high


def test_calibration_slope_and_bins_equal_scipy_and_counting():
    scorer, predicted = scored()
    found = calibration(scorer, predicted)
    line = linregress(predicted.reshape(-1).astype(float), scorer.observed.reshape(-1).astype(float))
    assert found.slope.value == pytest.approx(line.slope, rel=1e-6)
    assert found.intercept == pytest.approx(line.intercept, rel=1e-5)
    assert found.slope.low < line.slope < found.slope.high
    assert len(found.bins) == 10
    order = np.sort(predicted.reshape(-1))
    assert found.bins[0].predicted == pytest.approx(order[:45].mean(), rel=1e-5)


def test_calibration_of_a_constant_prediction_has_no_slope():
    scorer, predicted = scored()
    found = calibration(scorer, np.full_like(predicted, 2.0))
    assert np.isnan(found.slope.value)
    assert len(found.bins) == 1
