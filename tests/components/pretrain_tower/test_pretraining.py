"""Pre-training of one encoder: it learns what there is to learn, goes on after a stop, and loads by the strict path."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from components.artifacts import open_artifact
from components.harness import StepStoppedError
from components.params import Params, load_params
from components.pretrain_tower.fasta_records import read_sequences
from components.pretrain_tower.loop import Pretrainer
from components.pretrain_tower.masking import NOT_ASKED, masked
from components.pretrain_tower.step import network_of, run
from components.pretrain_tower.track_files import read_track
from model.errors import InputError
from model.isoformer import IsoFormer
from model.presets import nucleotide_transformer, preset
from model.pretrained import load_tower
from model.tokenizers import ESM_CLS, ESM_EOS, ESM_MASK, SIXMER_CLS, SIXMER_MASK, esm_tokens, sixmer_tokens

QUICK = ("runtime.threads=1", "pretrain.batch_sequences=8", "pretrain.valid_share=0.2")
MOTIF = "MKTWYQRHGE"


def params(*overrides: str) -> Params:
    return load_params(None, preset="sanity", overrides=[*QUICK, *overrides])


@pytest.fixture
def proteins(tmp_path: Path) -> Path:
    """Proteins of one residue each: what is hidden stands beside."""
    path = tmp_path / "proteins.fa.gz"
    text = "".join(f">p{number}\n{MOTIF[number % 10] * (20 + number)}*\n" for number in range(40))
    path.write_bytes(gzip.compress(text.encode()))
    return path


@pytest.fixture
def genome(tmp_path: Path) -> tuple[Path, Path]:
    """Two contigs, and a track that is high wherever a stretch of G stands."""
    generator = np.random.default_rng(0)
    records, intervals = [], []
    for name in ("chr1", "chr2"):
        letters = generator.choice(list("ACT"), 16_384)
        for start in generator.integers(0, 16_000, 60).tolist():
            letters[start : start + 24] = "G"
        is_g = np.concatenate([[0], (letters == "G").astype(int), [0]])
        edges = np.flatnonzero(np.diff(is_g)).reshape(-1, 2)
        intervals += [f"{name}\t{first}\t{last}\t10" for first, last in edges.tolist()]
        records.append(f">{name}\n{''.join(letters)}\n")
    (tmp_path / "genome.fa").write_text("".join(records))
    (tmp_path / "g.bedgraph").write_text("track type=bedGraph\n" + "\n".join(intervals) + "\n")
    return tmp_path / "genome.fa", tmp_path / "g.bedgraph"


def test_language_modelling_learns_a_motif_and_loads_by_the_strict_path(proteins: Path, tmp_path: Path) -> None:
    recipe = params("pretrain.steps=120", "pretrain.learning_rate=5e-3", "pretrain.valid_every_steps=120")
    run({"fasta": proteins}, recipe, tmp_path / "out", tmp_path / "work", tower="protein")
    artifact = open_artifact(tmp_path / "out", "pretrained_tower")
    history = (artifact.payload / "history.json").read_text()
    first, last = json.loads(history)
    # A guess by frequency alone is right once in ten.
    assert last["accuracy"] > 0.6
    assert last["loss"] < 0.6 * np.log(10) < first["loss"]
    model = IsoFormer(preset("sanity"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = load_tower(model, "protein", artifact.payload)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert report.layout == "isoformer"
    assert changed
    assert all(name.startswith("encoders.protein.") for name in changed)
    assert report.tensors == sum(name.startswith("encoders.protein.") for name in before)


def test_a_tower_of_another_size_is_refused(proteins: Path, tmp_path: Path) -> None:
    run({"fasta": proteins}, params("pretrain.steps=1"), tmp_path / "out", tmp_path / "work", tower="protein")
    with pytest.raises(InputError, match="misshapen"):
        load_tower(IsoFormer(preset("tiny")), "protein", tmp_path / "out" / "payload")


def test_a_stopped_run_ends_bit_for_bit_like_an_unbroken_one(
    proteins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = params("pretrain.steps=8", "pretrain.valid_every_steps=4")
    run({"fasta": proteins}, recipe, tmp_path / "unbroken", tmp_path / "work-1", tower="protein")
    step = Pretrainer._train_step

    def stop_after_three(trainer: Pretrainer) -> None:
        step(trainer)
        if trainer.step == 3:
            trainer._request_stop()

    with monkeypatch.context() as patched:
        patched.setattr(Pretrainer, "_train_step", stop_after_three)
        with pytest.raises(StepStoppedError, match="step 3"):
            run({"fasta": proteins}, recipe, tmp_path / "broken", tmp_path / "work-2", tower="protein")
    assert not (tmp_path / "broken").exists()
    run({"fasta": proteins}, recipe, tmp_path / "broken", tmp_path / "work-2", tower="protein")
    first, second = (open_artifact(tmp_path / name, "pretrained_tower") for name in ("unbroken", "broken"))
    assert first.digest == second.digest


def test_track_regression_learns_a_track_and_loads_by_the_strict_path(
    genome: tuple[Path, Path], tmp_path: Path
) -> None:
    fasta, track = genome
    recipe = params("pretrain.steps=60", "pretrain.learning_rate=1e-2", "pretrain.valid_every_steps=60")
    run({"genome": fasta, "track_0": track}, recipe, tmp_path / "out", tmp_path / "work", tower="dna")
    first, last = json.loads((tmp_path / "out" / "payload" / "history.json").read_text())
    assert last["correlation"] > 0.7 > first["correlation"]
    report = load_tower(IsoFormer(preset("sanity")), "dna", tmp_path / "out" / "payload")
    assert report.part == "dna"


def test_an_objective_that_the_encoder_cannot_learn_is_refused(proteins: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pretrain-tracks"):
        run({"fasta": proteins}, params(), tmp_path / "out", tmp_path / "work", tower="dna")
    nucleotides = params("model.preset=sanity-nt")
    assert network_of(nucleotides, "dna").modalities == ("dna",)
    named = load_params(None, preset="sanity", overrides=["model.overrides={rna: nt-v2-50m, protein: {layers: 2}}"])
    assert network_of(named, "rna").rna == nucleotide_transformer("50m")
    protein = network_of(named, "protein").protein
    assert protein is not None
    assert (protein.layers, protein.width) == (2, 16)


def test_masks_keep_special_tokens_and_ask_for_the_share() -> None:
    generator = np.random.default_rng(0)
    for alphabet, tokens, special, hidden in (
        ("esm", esm_tokens(MOTIF * 400), (ESM_CLS, ESM_EOS), ESM_MASK),
        ("sixmer", sixmer_tokens("ACGTTG" * 4000), (SIXMER_CLS,), SIXMER_MASK),
    ):
        seen, labels = masked(tokens, alphabet, 0.15, generator)
        asked = labels != NOT_ASKED
        assert 0.13 < asked.mean() < 0.17
        assert 0.75 < (seen[asked] == hidden).mean() < 0.85
        assert 0.85 < (seen[asked] != tokens[asked]).mean() < 0.95
        assert np.array_equal(seen[~asked], tokens[~asked])
        assert np.array_equal(labels[asked], tokens[asked])
        assert not asked[np.isin(tokens, special)].any()


def test_bins_of_a_track_equal_means_over_bases(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    length, bin_bp = 1000, 16
    bases = np.zeros(length)
    lines = []
    for _ in range(80):
        start = int(generator.integers(0, length - 1))
        end = int(generator.integers(start + 1, length + 1))
        value = float(generator.integers(1, 9))
        bases[start:end] += value
        lines.append(f"chr1\t{start}\t{end}\t{value}")
    (tmp_path / "a.bg").write_text("\n".join(lines) + "\n")
    found = read_track(tmp_path / "a.bg", {"chr1": length, "chr2": 40}, bin_bp)
    np.testing.assert_allclose(found["chr1"], bases[: length // bin_bp * bin_bp].reshape(-1, bin_bp).mean(1), rtol=1e-6)
    assert found["chr2"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.bw", "", "bigWigToBedGraph"),
        ("t.txt", "", "a name ending in"),
        ("t.bed", "chr1\t5\n", "contig, start, end"),
        ("t.bed", "chr9\t5\t9\n", "a contig of the genome"),
        ("t.bed", "chr1\t9\t5\n", "start < end"),
        ("t.bed", "chr1\t9\t500\n", "the contig's length"),
        ("t.bg", "chr1\t1\t5\tnan\n", "a finite value"),
        ("t.bg", "# nothing\n", "intervals"),
    ],
)
def test_bad_tracks_are_refused_by_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_track(tmp_path / name, {"chr1": 100}, 10)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "FASTA records"), ("ACGT\n", "header"), (">a\n>b\nACGT\n", ":1"), (">a\nACGT\nAC-T\n", ":3")],
)
def test_bad_fasta_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.fa").write_text(text)
    with pytest.raises(InputError, match=message):
        read_sequences(tmp_path / "x.fa", "sixmer")
