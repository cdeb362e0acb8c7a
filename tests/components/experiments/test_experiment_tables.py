"""Suites, plans, comparisons and tables of the experiments, on made-up predictions whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.artifacts import write_artifact, write_json
from components.evaluate_model.attention import AttentionTable, AttentionTest
from components.experiments.comparison import Comparer, holm, two_sided_p
from components.experiments.published import published_row
from components.experiments.records import Plan, read_plan, transcripts_for, write_plan
from components.experiments.render import as_latex, as_markdown
from components.experiments.report import write_report
from components.experiments.results import SuiteResults, read_results
from components.experiments.suites import SUITES, suite_of
from components.experiments.tables import Table, scores_table, spread
from components.experiments.trials import plan
from components.params import Params, load_params
from model.errors import InputError

GENES, ISOFORMS, TISSUES = 60, 3, ("Blood", "Brain", "Liver")
# Deviation of the error that each subset's made-up predictions have: the more modalities, the less.
ERRORS = {"dna": 1.0, "rna": 0.8, "protein": 0.9, "dna+rna": 0.6, "dna+protein": 0.7, "rna+protein": 0.7}


@pytest.fixture
def params() -> Params:
    return load_params(None, preset="sanity")


@pytest.fixture
def finish(transcripts: Path) -> Callable[..., None]:
    """Writes an evaluation of a planned trial whose predictions are off by noise of a given deviation."""

    def write(
        place: Path, error: float, seed: int, *, genes: int = GENES, attention: dict[str, object] | None = None
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        shape = (genes * ISOFORMS, len(TISSUES))
        observed = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        predicted = observed + error * np.random.default_rng(seed + 1).normal(size=shape).astype(np.float32)
        table = pa.table(
            {
                "transcript_id": [f"T{row}" for row in range(shape[0])],
                "gene_id": [f"G{row // ISOFORMS}" for row in range(shape[0])],
                **{
                    name: pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), len(TISSUES))
                    for name, values in (("predicted", predicted), ("observed", observed))
                },
            }
        ).replace_schema_metadata({"tissues": json.dumps(TISSUES), "simulated": "true"})
        with write_artifact(place, kind="evaluation", inputs={}, config={}) as writer:
            pq.write_table(table, writer.payload / "predictions.parquet")
            metrics = {"ceilings": {"dna": 0.3, "dna+rna+protein": 0.9}, "attention": attention}
            write_json(writer.payload / "metrics.json", metrics)

    return write


def planned(suite: str, params: Params, folder: Path, transcripts: Path, *, seeds: int = 2) -> Plan:
    chosen = suite_of(suite, network="sanity")
    trials = plan(chosen, params, seeds=seeds, pretrained={})
    return write_plan(folder, chosen, "sanity", trials, {512: transcripts})


def test_suites_are_the_papers(params: Params) -> None:
    counts = {name: len(suite_of(name, network="tiny").configurations) for name in SUITES}
    assert counts == {
        **{"modalities": 7, "dna-encoder": 2, "aggregation": 5, "pre-training": 8},
        **{"targets": 2, "seeds": 1},
    }
    with pytest.raises(InputError, match="modalities, dna-encoder"):
        suite_of("modality", network="tiny")
    with pytest.raises(InputError, match="rna\\+protein"):
        suite_of("modalities", network="tiny").restricted(["rna+dna"])


def test_every_configuration_is_a_valid_network_of_its_own(params: Params, transcripts: Path) -> None:
    from components.train_model.data import read_dataset_facts
    from components.train_model.network import build_config

    facts = read_dataset_facts(transcripts / "payload")
    for name in ("modalities", "dna-encoder", "aggregation", "targets"):
        suite = suite_of(name, network="sanity")
        configs = [build_config(trial.params, facts) for trial in plan(suite, params, seeds=1, pretrained={})]
        assert len({json.dumps(config.to_dict()) for config in configs}) == len(suite.configurations)


def test_a_trial_is_named_by_all_that_decides_its_result(params: Params, transcripts: Path, tmp_path: Path) -> None:
    suite = suite_of("pre-training", network="sanity")
    towers = {name: tmp_path / name for name in ("dna", "rna", "protein")}
    for path in towers.values():
        path.write_text("weights")
    first = [trial.digest(transcripts) for trial in plan(suite, params, seeds=2, pretrained=towers)]
    assert len(set(first)) == 16
    elsewhere = {name: path.rename(tmp_path / f"moved-{name}") for name, path in towers.items()}
    moved = params.changed({"runtime": {"threads": 1}, "data": {"folder": "elsewhere"}})
    assert [trial.digest(transcripts) for trial in plan(suite, moved, seeds=2, pretrained=elsewhere)] == first
    (tmp_path / "moved-rna").write_text("other weights")
    others = [trial.digest(transcripts) for trial in plan(suite, params, seeds=2, pretrained=elsewhere)]
    assert sum(a != b for a, b in zip(first, others, strict=True)) == 8
    with pytest.raises(InputError, match="--pretrained protein=PATH"):
        plan(suite, params, seeds=1, pretrained={"dna": tmp_path, "rna": tmp_path})


def test_a_network_finds_the_data_set_of_its_window(params: Params, transcripts: Path) -> None:
    suite = suite_of("dna-encoder", network="isoformer")
    enformer, nt = plan(suite, params, seeds=1, pretrained={})
    places = {196_608: Path("long"), 12_282: Path("short")}
    assert (transcripts_for(enformer, places), transcripts_for(nt, places)) == (Path("long"), Path("short"))
    with pytest.raises(InputError, match="12,282 bp"):
        transcripts_for(nt, {196_608: transcripts})


def test_a_half_finished_suite_is_reported_with_what_is_missing(
    params: Params, transcripts: Path, tmp_path: Path, finish: Callable[..., None]
) -> None:
    todo = planned("modalities", params, tmp_path, transcripts)
    for trial in todo.trials:
        if trial.configuration in ERRORS and not (trial.configuration == "rna" and trial.seed == 1):
            finish(trial.evaluation, ERRORS[trial.configuration], trial.seed)
    write_report(tmp_path, resamples=200)
    for name in ("report.html", "report.md"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "3 of 14 trials are missing" in text
        assert "rna seed 1" in text
        assert "1 of 2" in text
        assert "0 of 2" in text
        assert "0.36 ± 0.03" in text  # published, RNA
    assert "http" not in (tmp_path / "report.html").read_text(encoding="utf-8").replace("http://www.w3.org", "")
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["modalities"]
    assert len(results["missing"]) == 3
    assert results["simulated"]


def test_attention_is_told_over_seeds(
    params: Params, transcripts: Path, tmp_path: Path, finish: Callable[..., None]
) -> None:
    """What is significant in one seed and not in the other is not; shares are averaged over seeds."""
    todo = planned("targets", params, tmp_path, transcripts)
    for trial in todo.trials:
        finish(trial.evaluation, 0.5, trial.seed, attention=_attention(trial.seed))
    write_report(tmp_path, resamples=200)
    told = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["targets"]["attention"]
    tables = {key: AttentionTable.from_json(value) for key, value in told.items()}
    assert set(tables) == {item.key for item in suite_of("targets", network="sanity").configurations}
    utr, cds, three = next(iter(tables.values())).tests
    assert (utr.after, utr.p) == (pytest.approx(0.35), 0.01)
    assert (cds.after, cds.p) == (pytest.approx(0.35), 0.5)
    assert np.isnan(three.p)
    assert "| +25.0 ± 0.0 | -5.0 ± 0.0 | n/a | 1 of 3 |" in (tmp_path / "report.md").read_text(encoding="utf-8")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "significant in every seed" in page
    assert "the same network untrained" in page


def _attention(seed: int) -> dict[str, object]:
    """One layer and head, a 3'UTR that is never read."""
    tests = (
        AttentionTest(0, 0, "5'UTR", 9, 0.1, 0.3 + 0.1 * seed, 0.2, 1.0, 0.01),
        AttentionTest(0, 0, "CDS", 9, 0.4, 0.4 - 0.1 * seed, 0.8, -1.0, 0.5 if seed else 0.01),
        AttentionTest(0, 0, "3'UTR", 0, *(float("nan"),) * 5),
    )
    return AttentionTable("the same network untrained", 20, tests).to_json()


def test_a_folder_without_any_trial_done_is_reported_as_such(params: Params, transcripts: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no plan of any suite"):
        write_report(tmp_path, resamples=200)
    planned("targets", params, tmp_path, transcripts)
    write_report(tmp_path, resamples=200)
    assert "4 of 4 trials are missing" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_trials_of_other_test_transcripts_are_not_mixed(
    params: Params, transcripts: Path, tmp_path: Path, finish: Callable[..., None]
) -> None:
    todo = planned("targets", params, tmp_path, transcripts)
    finish(todo.trials[0].evaluation, 0.5, 0)
    finish(todo.trials[1].evaluation, 0.5, 0, genes=GENES - 1)
    with pytest.raises(InputError, match="the test transcripts and tissues of the other trials"):
        read_results(read_plan(tmp_path, "targets"))


def results_of(
    params: Params,
    transcripts: Path,
    folder: Path,
    finish: Callable[..., None],
    errors: dict[str, float],
    seeds: int = 5,
) -> SuiteResults:
    todo = planned("targets", params, folder, transcripts, seeds=seeds)
    for number, trial in enumerate(todo.trials):
        finish(trial.evaluation, errors[trial.configuration], number)
    return read_results(read_plan(folder, "targets"))


def test_a_real_difference_is_found_and_turns_with_its_sides(
    params: Params, transcripts: Path, tmp_path: Path, finish: Callable[..., None]
) -> None:
    results = results_of(params, transcripts, tmp_path, finish, {"dna": 0.8, "all": 0.5})
    comparer = Comparer(results, resamples=400)
    forward, backward = comparer.compare_all([("all", "dna"), ("dna", "all")])
    # R² = 1 − error²: 0.75 against 0.36.
    assert forward.difference.value == pytest.approx(0.39, abs=0.05)
    assert forward.difference.low > 0.2
    assert forward.p_holm < 0.05
    assert forward.p_seeds is not None
    assert forward.p_seeds < 0.01
    assert not forward.equivalent(0.02)
    assert backward.difference.value == pytest.approx(-forward.difference.value)
    assert all(item.low > 0 for item in forward.per_tissue)
    assert len(forward.per_tissue) == len(TISSUES)


def test_no_difference_is_not_found_and_is_equivalent(
    params: Params, transcripts: Path, tmp_path: Path, finish: Callable[..., None]
) -> None:
    results = results_of(params, transcripts, tmp_path, finish, {"dna": 0.1, "all": 0.1})
    (found,) = Comparer(results, resamples=400).compare_all([("all", "dna")])
    assert found.difference.low < 0 < found.difference.high
    assert found.p_genes_seeds > 0.05
    assert found.equivalent(0.02)
    assert not found.equivalent(1e-6)


def test_holm_equals_the_textbook() -> None:
    # Holm 1979: p·(m − rank), running maximum.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert two_sided_p(np.linspace(-1, 3, 1000)) == pytest.approx(0.5, abs=0.01)


def test_tables_show_published_rows_only_where_there_are_some() -> None:
    assert published_row("modalities", "dna", "enformer") is None
    assert published_row("modalities", "dna", "nucleotide-transformer") is not None
    assert published_row("modalities", "rna+protein", "nucleotide-transformer") is None
    assert published_row("aggregation", "cross_attention", "enformer") is None
    assert spread([]) == "–"
    assert spread([0.5]) == "0.500"
    assert spread([0.4, 0.6]) == "0.500 ± 0.141"


def test_the_best_row_stands_out(
    params: Params, transcripts: Path, tmp_path: Path, finish: Callable[..., None]
) -> None:
    results = results_of(params, transcripts, tmp_path, finish, {"dna": 0.8, "all": 0.5}, seeds=1)
    table = scores_table(results, None, "enformer")
    assert table.emphasised == {1}
    assert table.rows[1][0] == "all three"


def test_markdown_and_latex_escape_what_they_must() -> None:
    table = Table(
        title="a_b", headings=("x & y", "R²"), rows=(("50 %", "0.1 ± 0.2"), ("p|q", "–")), emphasised=frozenset({0})
    )
    text = as_latex(table)
    assert r"a\_b" in text
    assert r"x \& y & R$^2$" in text
    assert r"\textbf{50 \%} & \textbf{0.1 $\pm$ 0.2}" in text
    assert "p\\|q" in as_markdown(replace(table))
