"""The whole pipeline runs on real sequence and real annotation, to an honest verdict.

Real GRCh38/GRCh37 pieces, GENCODE and RefSeq annotation; the expression table is semi-synthetic.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from components.artifacts import open_artifact
from components.params import load_params
from pipelines.local_run import run_locally

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="NOT RUN: the real data (../shared/data) is not on this machine"),
]


@pytest.fixture(scope="module")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with the documented names."""
    folder = tmp_path_factory.mktemp("real")
    for source, name in (
        ("genome/demo.fa.gz", "genome.fa.gz"),
        ("annotation/demo.gtf.gz", "annotation.gtf.gz"),
        ("expression_simulated/SEMISYNTHETIC_transcript_tpm.gct.gz", "transcript_tpm.gct.gz"),
        ("expression_simulated/SEMISYNTHETIC_SampleAttributesDS.txt.gz", "sample_attributes.txt.gz"),
    ):
        shutil.copyfile(SHARED / source, folder / name)
    return folder


@pytest.mark.timeout(600)
def test_real_genes_reach_a_verdict_that_says_they_are_too_few(real_data: Path, tmp_path: Path) -> None:
    params = load_params(ROOT / "params.yaml", overrides=["train.max_epochs=2"])
    run = run_locally(
        params, data=real_data, out=tmp_path / "run", work=tmp_path / "work", registry=str(tmp_path / "registry")
    )
    dataset = json.loads(
        (open_artifact(run.artifacts["transcripts"], "transcripts").payload / "dataset.json").read_text()
    )
    assert len(dataset["tissues"]) == 30
    verdict = json.loads(
        (open_artifact(run.artifacts["evaluation"], "evaluation").payload / "verdict.json").read_text()
    )
    assert not verdict["blessed"]
    assert any("too few genes" in reason for reason in verdict["reasons"])
    assert "bento" not in run.artifacts
    assert not (tmp_path / "registry").exists()
