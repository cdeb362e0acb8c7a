"""Families and regions that a user gives: used through every door, refused by name, and told in the dataset."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components.artifacts import open_artifact
from components.extract_sequences.step import run
from components.optional_data import find_optional_data
from components.params import Params, load_params
from components.sections import DataParams
from model.errors import InputError

ROOT = Path(__file__).parents[3]
ISOFORMER = str(Path(sys.executable).parent / "isoformer")
Inputs = dict[str, Path]


@pytest.fixture(scope="module")
def inputs(raw_inputs: Inputs, transcripts: Path) -> Inputs:
    return {**raw_inputs, "validation": transcripts.parent / "validation"}


@pytest.fixture(scope="module")
def genes(transcripts: Path) -> list[str]:
    table = pq.read_table(transcripts / "payload" / "transcripts.parquet", columns=["gene_id"])
    return sorted(set(table["gene_id"].to_pylist()))


def with_split(params: Params, **split: object) -> Params:
    extract = params.extract.model_copy(update={"split": params.extract.split.model_copy(update=split)})
    return params.model_copy(update={"extract": extract})


def extracted(inputs: Inputs, params: Params, folder: Path) -> tuple[list[dict[str, object]], dict[str, object]]:
    run(inputs, params, folder / "out", folder / "work")
    payload = open_artifact(folder / "out", "transcripts").payload
    return pq.read_table(payload / "transcripts.parquet").to_pylist(), json.loads(
        (payload / "dataset.json").read_text()
    )


def test_given_families_stay_together_and_are_part_of_the_version(
    inputs: Inputs, transcripts: Path, genes: list[str], sanity_params: Params, tmp_path: Path
) -> None:
    """Every third gene is of one family, by ids without versions; its members are in one split."""
    family = set(genes[::3])
    lines = [f"{gene.split('.')[0]}\tF{'1' if gene in family else gene}\n" for gene in genes]
    (tmp_path / "families.tsv").write_text("".join(lines))
    rows, facts = extracted({**inputs, "families": tmp_path / "families.tsv"}, sanity_params, tmp_path)
    assert len({row["split"] for row in rows if row["gene_id"] in family}) == 1
    usual = json.loads((transcripts / "payload" / "dataset.json").read_text())
    usual_rows = pq.read_table(transcripts / "payload" / "transcripts.parquet").to_pylist()
    assert len({row["split"] for row in usual_rows if row["gene_id"] in family}) > 1
    assert facts["dataset_version"] != usual["dataset_version"]
    assert facts["genes_with_given_family"] == len(genes)
    assert facts["leakage_audit"]["families"] == {"count": 0, "examples": [], "blocks": True}  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("OTHER1\tF1\n", "families of genes of these data, found other genes (OTHER1 …)"),
        ("G1\n", "line 1: expected a gene and its one family, tab-separated, found 'G1'"),
    ],
)
def test_families_of_other_genes_are_refused(
    inputs: Inputs, sanity_params: Params, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "families.tsv").write_text(text)
    with pytest.raises(InputError) as error:
        run({**inputs, "families": tmp_path / "families.tsv"}, sanity_params, tmp_path / "out", tmp_path / "work")
    assert said in str(error.value)
    assert "families.tsv" in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} <= {"families.tsv", "work"}


@pytest.fixture(scope="module")
def bed(transcripts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Alternating regions over all contigs, named without `chr`: four of training, one each of the two others."""
    rows = pq.read_table(transcripts / "payload" / "transcripts.parquet", columns=["contig", "window_end"]).to_pylist()
    ends: dict[str, int] = {}
    for row in rows:
        ends[row["contig"]] = max(ends.get(row["contig"], 0), row["window_end"])
    lines, names = [], ["fold0", "fold1", "fold3", "fold2", "fold4", "fold5"]
    for contig, end in ends.items():
        for number, start in enumerate(range(0, end, 4_000)):
            lines.append(f"{contig.removeprefix('chr')}\t{start}\t{start + 4_000}\t{names[number % len(names)]}\n")
    path = tmp_path_factory.mktemp("bed") / "regions.bed.gz"
    path.write_bytes(gzip.compress("".join(lines).encode()))
    return path


REGION = {"policy": "region", "region_splits": {"fold3": "test", "fold4": "valid"}}


def test_given_regions_hold_whole_windows(inputs: Inputs, bed: Path, sanity_params: Params, tmp_path: Path) -> None:
    rows, facts = extracted({**inputs, "regions": bed}, with_split(sanity_params, **REGION), tmp_path)
    regions: dict[str, list[tuple[str, int, int]]] = {"train": [], "test": [], "valid": []}
    for line in gzip.decompress(bed.read_bytes()).decode().splitlines():
        contig, start, end, name = line.split("\t")
        regions[{"fold3": "test", "fold4": "valid"}.get(name, "train")].append((f"chr{contig}", int(start), int(end)))
    for row in rows:
        for split, intervals in regions.items():
            touches = any(
                contig == row["contig"] and start < row["window_end"] and row["window_start"] < end
                for contig, start, end in intervals
            )
            assert touches == (split == row["split"])
    assert facts["counts"]["dropped"]["window_crosses_regions"] > 0  # type: ignore[index]
    with pytest.raises(InputError, match=r"region_splits: expected names of regions \(fold0.*found 'fold9'"):
        extracted(
            {**inputs, "regions": bed},
            with_split(sanity_params, policy="region", region_splits={"fold9": "test"}),
            tmp_path / "typo",
        )


def test_regions_of_another_genome_are_refused(inputs: Inputs, sanity_params: Params, tmp_path: Path) -> None:
    (tmp_path / "regions.bed").write_text("scaffold_7\t0\t100\ttrain\n")
    with pytest.raises(InputError, match=r"regions\.bed: expected regions on contigs of the genome.*scaffold_7"):
        run(
            {**inputs, "regions": tmp_path / "regions.bed"},
            with_split(sanity_params, policy="region"),
            tmp_path / "out",
            tmp_path / "work",
        )
    assert not (tmp_path / "out").exists()


def test_optional_inputs_are_found_by_name_or_refused(tmp_path: Path) -> None:
    (tmp_path / "families.tsv").write_text("A\tF\n")
    (tmp_path / "empty.bed").touch()
    assert find_optional_data(tmp_path, DataParams()) == {}
    assert find_optional_data(tmp_path, DataParams(families="families.tsv")) == {"families": tmp_path / "families.tsv"}
    with pytest.raises(InputError, match=r"empty\.bed: expected a BED file of regions, found an empty file"):
        find_optional_data(tmp_path, DataParams(regions="empty.bed"))
    with pytest.raises(InputError, match=r"expected the transcripts artifact.*found nothing.*data\.previous"):
        find_optional_data(tmp_path, DataParams(previous="nowhere"))


def test_command_line_parameters_and_kubeflow_make_the_same(
    inputs: Inputs, transcripts: Path, genes: list[str], bed: Path, tmp_path: Path
) -> None:
    """All three optional inputs: as options, and as names in params that the Kubeflow wrapper reads."""
    from kfp import dsl

    from components.extract_sequences.component import extract_sequences

    raw = inputs["genome"].parent
    (tmp_path / "families.tsv").write_text("".join(f"{gene}\tF{number // 2}\n" for number, gene in enumerate(genes)))
    settings = [
        *("--params", str(ROOT / "params.yaml"), "--preset", "sanity"),
        *("--set", "extract.split.policy=region", "--set", "extract.split.region_splits={fold3: test, fold4: valid}"),
        *("--set", "validate_data.max_drift_ks=1", "--set", "validate_data.max_drift_psi=9"),
    ]
    options = {"families": tmp_path / "families.tsv", "regions": bed, "previous": transcripts}
    command = [ISOFORMER, "extract-sequences", *settings, "--data", str(raw), "--validation", str(inputs["validation"])]
    command += [part for name, path in options.items() for part in (f"--{name}", str(path))]
    done = subprocess.run(
        [*command, "--out", "out", "--work", "work"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    by_option = open_artifact(tmp_path / "out", "transcripts")
    assert set(options) < by_option.manifest["inputs"].keys()

    params = load_params(
        ROOT / "params.yaml", preset="sanity", overrides=[settings[5], settings[7], settings[9], settings[11]]
    )
    named = params.data.model_copy(update={name: str(path) for name, path in options.items()})
    params = params.model_copy(update={"data": named})
    out = dsl.Dataset(uri=str(tmp_path / "kfp"))
    report = dsl.HTML(uri=str(tmp_path / "report.html"))
    extract_sequences.python_func(
        raw=dsl.Dataset(uri=str(raw)),
        validation=dsl.Artifact(uri=str(inputs["validation"])),
        transcripts=out,
        report=report,
        params=params.to_json(),
        work_root=str(tmp_path / "work"),
    )
    assert open_artifact(tmp_path / "kfp", "transcripts").digest == by_option.digest
    assert "Drift" in (tmp_path / "report.html").read_text(encoding="utf-8")
