"""Mutagenesis changes one letter at a time and tells what the predictor answers to each mutant."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from components.evaluate_model.examples import Examples
from components.evaluate_model.explain import mutate
from components.evaluate_model.explanation import explain_transcript, write_explanation
from model.batch import TranscriptInput
from model.errors import InputError
from model.predictor import Predictor
from model.torch_backend import TorchBackend
from model.weights import load_model


@pytest.fixture(scope="module")
def predictor(untrained_model: Path) -> Predictor:
    network = load_model(untrained_model / "payload")
    return Predictor(TorchBackend(network), network.config)


def small(predictor: Predictor) -> TranscriptInput:
    window = np.random.default_rng(0).integers(0, 5, predictor.config.window_bp).astype(np.uint8)
    return TranscriptInput(dna=window, rna="ACGUNACGTACGTACGT", protein="MKVA")


def test_every_letter_is_replaced_once_by_each_other(predictor):
    item = small(predictor)
    assert item.dna is not None
    effects = mutate(predictor, item, modalities=("dna", "rna", "protein"), dna_bp=20)
    count = {name: sum(one.modality == name for one in effects.mutations) for name in ("dna", "rna", "protein")}
    known = int((item.dna[246:266] < 4).sum())
    assert count == {"dna": 3 * known, "rna": 3 * 16, "protein": 4}
    assert {one.position for one in effects.mutations if one.modality == "dna"} <= set(range(246, 266))
    assert [one.alternative for one in effects.mutations if one.modality == "protein"] == ["A", "A", "A", "G"]
    assert len(set(effects.mutations)) == len(effects.mutations)


def test_effects_are_what_the_predictor_answers(predictor):
    item = small(predictor)
    effects = mutate(predictor, item, modalities=("rna",))
    before = predictor.predict([item]).log1p_tpm[0]
    for index in (0, 7, 30):
        one = effects.mutations[index]
        assert item.rna is not None
        changed = item.rna[: one.position] + one.alternative + item.rna[one.position + 1 :]
        after = predictor.predict([TranscriptInput(dna=item.dna, rna=changed, protein=item.protein)]).log1p_tpm[0]
        np.testing.assert_allclose(effects.delta[index], after - before, atol=1e-5)
    strongest = effects.strongest("rna", len(item.rna or ""), [0, 1])
    mine = [effects.delta[i, :2].mean() for i, one in enumerate(effects.mutations) if one.position == 2]
    assert strongest[2] == pytest.approx(max(mine, key=abs), abs=1e-6)


def test_a_page_and_a_table_are_written_and_stand_alone(transcripts, untrained_model, tmp_path):
    name = Examples.read(transcripts / "payload", "test").transcript_ids[1]
    explained = explain_transcript(
        untrained_model, transcripts, name, modalities=("protein",), tissue="Liver", dna_bp=10, threads=1
    )
    write_explanation(explained, tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "effects.tsv").open(), delimiter="\t"))
    assert [row["position"] for row in rows] == [str(number + 1) for number in range(len(explained.item.protein or ""))]
    mean = np.mean([float(rows[0][tissue]) for tissue in explained.tissues])
    assert float(rows[0]["mean"]) == pytest.approx(mean, abs=2e-6)
    html = (tmp_path / "out" / "explanation.html").read_text(encoding="utf-8")
    assert name in html
    assert "SIMULATED" in html
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:|#)[a-z]""", html)
    with pytest.raises(InputError, match="empty or absent"):
        write_explanation(explained, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"transcript_id": "ENST0"}, "ENST0"), ({"tissue": "Tail"}, "Tail"), ({"modalities": ()}, "--modality")],
)
def test_what_cannot_be_explained_is_refused_by_name(transcripts, untrained_model, change, words):
    arguments = {"transcript_id": "T0001", "modalities": ("protein",), "tissue": None} | change
    with pytest.raises(InputError, match=words):
        explain_transcript(untrained_model, transcripts, **arguments, dna_bp=10, threads=1)
