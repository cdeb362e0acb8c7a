"""Expression: means per tissue equal what was computed by others; ids are matched by a policy that is told."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from components.extract_sequences.annotation import read_annotation
from components.extract_sequences.expression import read_expression
from components.extract_sequences.id_matching import match_ids
from components.extract_sequences.labels import labels_of, reliability, scale
from components.extract_sequences.samples import PAPER_TISSUES, read_sample_tissues
from model.errors import InputError

POLICIES = ("exact", "without_suffix", "versionless")


def test_means_of_real_gtex_v8_are_those_computed_elsewhere(shared: Path) -> None:
    """All 17 HK1 transcripts × 30 tissues of 17,382 samples, to the six digits of the expected table."""
    attributes = read_sample_tissues(shared / "gtex_real" / "GTEx_v8_SampleAttributesDS.RNASEQ_subset.txt.gz")
    table = read_expression(shared / "gtex_real" / "GTEx_v8_transcript_tpm.HK1.gct.gz", attributes)
    assert table.tissues == PAPER_TISSUES
    assert not table.simulated
    labels = labels_of(table, np.arange(17))
    with (shared / "gtex_real" / "expected_tissue_means.HK1.tsv").open() as handle:
        expected = {(row["transcript_id"], row["stat"]): row for row in csv.DictReader(handle, delimiter="\t")}
    assert len(table.transcript_ids) == 17
    for row, name in enumerate(table.transcript_ids):
        for column, tissue in enumerate(PAPER_TISSUES):
            assert f"{table.mean_tpm[row, column]:.6g}" == expected[name, "mean_tpm"][tissue]
            assert labels[row, column] == np.float32(np.log1p(table.mean_tpm[row, column]))
            assert table.columns.samples_per_tissue[tissue] == int(expected[name, "n"][tissue])


def test_subtissues_are_an_option(shared: Path) -> None:
    """SMTSD: the 54 of GTEx v8; weighted by their samples they make the means of the 30 tissues."""
    names = shared / "gtex_real" / "GTEx_v8_SampleAttributesDS.RNASEQ_subset.txt.gz"
    path = shared / "gtex_real" / "GTEx_v8_transcript_tpm.HK1.gct.gz"
    fine = read_expression(path, read_sample_tissues(names, "SMTSD"))
    coarse = read_expression(path, read_sample_tissues(names))
    assert len(fine.tissues) == 54
    brain = [number for number, name in enumerate(fine.tissues) if name.startswith("Brain - ")]
    weights = np.array(list(fine.columns.samples_per_tissue.values()))[brain]
    expected = np.average(fine.mean_tpm[:, brain], axis=1, weights=weights)
    np.testing.assert_allclose(coarse.mean_tpm[:, coarse.tissues.index("Brain")], expected, rtol=1e-12)


def test_samples_that_are_not_in_the_rna_freeze_are_left_out(shared: Path) -> None:
    """The two real rows at the head of GTEx's table are of other assays: nothing is left of them."""
    with pytest.raises(InputError, match="found none"):
        read_sample_tissues(shared / "gtex_real" / "GTEx_v8_SampleAttributesDS.verbatim_head.txt")


def test_ids_of_a_lifted_annotation_match_by_policy(shared: Path) -> None:
    """HK1: none exactly, 10 without `_N`, the other 7 without version."""
    attributes = read_sample_tissues(shared / "gtex_real" / "GTEx_v8_SampleAttributesDS.RNASEQ_subset.txt.gz")
    table = read_expression(shared / "gtex_real" / "GTEx_v8_transcript_tpm.HK1.gct.gz", attributes)
    annotation = read_annotation(shared / "gtex_real" / "HK1_annotation" / "HK1.gencode_v36lift37.gtf.gz")
    ids = [naming.transcript_id for naming in annotation.naming]
    matches = match_ids(ids, table.transcript_ids, POLICIES, where=table.path)
    assert {name: matches.counts[name] for name in POLICIES} == {"exact": 0, "without_suffix": 10, "versionless": 7}
    assert matches.counts["expression_only"] == 0
    for number, row in matches.row_of.items():
        assert ids[number].split(".")[0] == table.transcript_ids[row].split(".")[0]
    with pytest.raises(InputError, match="transcripts in common"):
        match_ids(ids, table.transcript_ids, ("exact",), where=table.path)


def test_copies_on_y_do_not_match_those_on_x() -> None:
    """Whether written _PAR_Y or, in old tables, ENSTR."""
    annotated = ["ENST00000381192.10", "ENST00000381192.10_PAR_Y"]
    for on_y in ("ENST00000381192.3_PAR_Y", "ENSTR0000381192.3"):
        matches = match_ids(annotated, [on_y, "ENST00000381192.3"], POLICIES, where=Path("t"))
        assert matches.row_of == {0: 1, 1: 0}
        only_y = match_ids(annotated, [on_y], POLICIES, where=Path("t"))
        assert only_y.row_of == {1: 0}


def test_ambiguous_ids_are_refused_and_exact_ones_come_first() -> None:
    """Two versions of one transcript: the equal one is taken; where none is equal it is an error."""
    matches = match_ids(["T1.2"], ["T1.1", "T1.2"], POLICIES, where=Path("t"))
    assert matches.row_of == {0: 1}
    assert matches.counts["expression_only"] == 1
    with pytest.raises(InputError, match=r"ambiguous ids: T1.3 annotated, T1.1, T1.2 measured"):
        match_ids(["T1.3"], ["T1.1", "T1.2"], POLICIES, where=Path("t"))


def write_table(folder: Path) -> tuple[Path, list[str], np.ndarray]:
    """A table of 40 transcripts × 12 samples of 3 tissues, and its sample attributes."""
    rng = np.random.default_rng(0)
    tpm = np.round(rng.gamma(0.5, 8.0, (40, 12)), 2)
    samples = [f"S{i}" for i in range(12)]
    rows = "".join(f"{name}\t{'abc'[i % 3]}\tRNASEQ\n" for i, name in enumerate(samples))
    (folder / "attributes.txt").write_text("SAMPID\tSMTS\tSMAFRZE\n" + rows)
    return folder / "attributes.txt", samples, tpm


def lines_of(samples: list[str], tpm: np.ndarray, delimiter: str, ids: str) -> str:
    """Header and rows."""
    header = delimiter.join([*ids.split(), *samples])
    body = [
        delimiter.join([f"T{i}", *(["G"] * (len(ids.split()) - 1)), *map(str, row)])
        for i, row in enumerate(tpm.tolist())
    ]
    return "\n".join([header, *body]) + "\n"


def test_every_layout_gives_the_same_means(tmp_path: Path) -> None:
    """GCT, the same without preamble (GTEx v7 and v10), CSV, TSV without genes, Windows line ends, gzip, Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    attributes_path, samples, tpm = write_table(tmp_path)
    attributes = read_sample_tissues(attributes_path)
    (tmp_path / "attributes.csv").write_text(attributes_path.read_text().replace("\t", ","))
    assert read_sample_tissues(tmp_path / "attributes.csv").tissue == attributes.tissue
    plain = lines_of(samples, tpm, "\t", "transcript_id gene_id")
    layouts = {
        "a.gct": "#1.2\n40\t12\n" + plain,
        "b.txt": plain,
        "c.csv": lines_of(samples, tpm, ",", "transcript_id gene_id"),
        "d.tsv": lines_of(samples, tpm, "\t", "transcript_id"),
        "e.txt": plain.replace("\n", "\r\n"),
    }
    for name, text in layouts.items():
        (tmp_path / name).write_text(text, newline="")
    (tmp_path / "f.txt.gz").write_bytes(gzip.compress(plain.encode()))
    columns = {"transcript_id": [f"T{i}" for i in range(40)], **{name: tpm[:, i] for i, name in enumerate(samples)}}
    pq.write_table(pa.table(columns), tmp_path / "g.parquet", row_group_size=7)
    expected = np.stack([tpm[:, tissue::3].mean(axis=1) for tissue in range(3)], axis=1)
    for name in (*layouts, "f.txt.gz", "g.parquet"):
        table = read_expression(tmp_path / name, attributes)
        assert table.transcript_ids == columns["transcript_id"], name
        assert table.tissues == ("a", "b", "c")
        np.testing.assert_allclose(table.mean_tpm, expected, rtol=1e-12)
        np.testing.assert_allclose(table.tpm_sums, tpm.sum(axis=0), rtol=1e-12)


def test_tissues_can_be_chosen_and_ordered(tmp_path: Path) -> None:
    """Samples of other tissues are left out; a tissue that is not there is refused."""
    attributes_path, samples, tpm = write_table(tmp_path)
    (tmp_path / "t.txt").write_text(lines_of(samples, tpm, "\t", "transcript_id"))
    attributes = read_sample_tissues(attributes_path)
    table = read_expression(tmp_path / "t.txt", attributes, ("c", "a"))
    np.testing.assert_allclose(table.mean_tpm, np.stack([tpm[:, 2::3].mean(1), tpm[:, 0::3].mean(1)], 1), rtol=1e-12)
    assert table.columns.samples_per_tissue == {"c": 4, "a": 4}
    with pytest.raises(InputError, match="samples of tissue 'd'"):
        read_expression(tmp_path / "t.txt", attributes, ("d",))


def test_reliability_is_the_ceiling_that_noise_leaves(tmp_path: Path) -> None:
    """Split-half, stepped up to all samples: close to the true share of variance; None for a single sample."""
    rng = np.random.default_rng(1)
    truth = rng.normal(3.0, 1.0, (4000, 1))
    tpm = np.expm1(np.maximum(truth + rng.normal(0, 1.0, (4000, 11)), 0))
    samples = [f"S{i}" for i in range(11)]
    attributes = "".join(f"{name}\t{'many' if i < 10 else 'one'}\n" for i, name in enumerate(samples))
    (tmp_path / "attributes.txt").write_text("SAMPID\tSMTS\n" + attributes)
    (tmp_path / "t.txt").write_text(lines_of(samples, tpm, "\t", "transcript_id"))
    table = read_expression(tmp_path / "t.txt", read_sample_tissues(tmp_path / "attributes.txt"))
    many, one = reliability(table, np.arange(4000))
    halves = np.log1p(np.stack([tpm[:, 0:10:2].mean(1), tpm[:, 1:10:2].mean(1)]))
    correlation = np.corrcoef(halves)[0, 1]
    assert many == pytest.approx(2 * correlation / (1 + correlation), abs=1e-6)
    assert one is None


def test_scale_inverts(tmp_path: Path) -> None:
    """Standardised labels have mean 0 and deviation 1; a constant tissue keeps deviation 1."""
    labels = np.stack([np.arange(10.0), np.full(10, 2.0)], axis=1).astype(np.float32)
    mean, deviation = scale(labels)
    standard = (labels - np.array(mean)) / np.array(deviation)
    np.testing.assert_allclose(standard.mean(0), 0, atol=1e-6)
    assert deviation[1] == 1.0
    np.testing.assert_allclose(standard * deviation + mean, labels, rtol=1e-6)
