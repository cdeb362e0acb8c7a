"""The simulated expression is the recorded function of elements that only one modality sees."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import pytest
from Bio.Seq import Seq
from fabricated_reader import Raw

from components.fabricate.contigs import PlacedGene, simulate_genome
from components.fabricate.expression import labels_of, simulate_tpm
from components.fabricate.motifs import FAMILIES, MODALITIES, MOTIFS
from components.fabricate.signal import ceilings, draw_signal
from components.fabricate.truth import states_of, truth_of
from components.params import load_params
from components.sections import FabricateParams

WINDOW_BP = 512


def _params(*overrides: str) -> FabricateParams:
    return load_params(None, overrides=list(overrides)).fabricate


@cache
def _default_genes() -> list[PlacedGene]:
    return simulate_genome(_params(), WINDOW_BP)[1]


def _windows(raw: Raw) -> list[tuple[str, int, int]]:
    """DNA windows of all transcripts as 0-based half-open intervals."""
    half = WINDOW_BP // 2
    shift = {"+": -1, "-": 0}
    return [
        (item.contig, item.tss + shift[item.strand] - half, item.tss + shift[item.strand] + half)
        for item in raw.transcripts.values()
    ]


def test_utr_elements_and_residue_motifs_stand_outside_every_window(raw: Raw) -> None:
    """No DNA window, of whatever gene, overlaps an RNA element or a residue motif; nor a decoy of them."""
    windows = _windows(raw)
    rows = [row for row in raw.table("truth_motifs.tsv") if row["modality"] != "dna"]
    assert len(rows) > 500
    for row in rows:
        start, end = int(row["start"]), int(row["end"])
        assert not any(contig == row["contig"] and low < end and start < high for contig, low, high in windows)


def test_promoter_motifs_are_never_transcribed(raw: Raw) -> None:
    """No exon overlaps a promoter motif."""
    exons = [(item.contig, *exon[:2]) for item in raw.transcripts.values() for exon in item.features["exon"]]
    for row in raw.table("truth_motifs.tsv"):
        if row["modality"] == "dna":
            start, end = int(row["start"]), int(row["end"])
            assert not any(contig == row["contig"] and low - 1 < end and start < high for contig, low, high in exons)


def test_recorded_features_are_those_of_the_sequences(raw: Raw) -> None:
    """Searching window, 3' end and protein for the elements finds exactly what truth_features.tsv says."""
    for row in raw.table("truth_features.tsv"):
        item = raw.transcripts[row["transcript_id"]]
        sign = 1 if item.strand == "+" else -1
        near, far = sorted((item.tss - sign * 20, item.tss - sign * 140))
        texts = {
            "dna": raw.bases(item.contig, near, far, item.strand) if item.contig != "chrM" else "",
            "rna": raw.spliced(item, "exon")[-166:] if "mRNA_end_NF" not in item.tags else "",
            "protein": "",
        }
        if item.features["CDS"] and item.contig != "chrM":
            bases = raw.spliced(item, "CDS")
            frame = int(sorted(item.features["CDS"], reverse=item.strand == "-")[0][2])
            texts["protein"] = str(Seq(bases[frame : frame + (len(bases) - frame) // 3 * 3]).translate())
        for modality in MODALITIES:
            for motif in MOTIFS[modality]:
                assert row[motif.name] == str(int(motif.sequence in texts[modality])), (row, motif)


def test_labels_follow_from_the_truth(raw: Raw) -> None:
    """truth.json and truth_features.tsv give noise-free labels whose R² to the observed ones is the noise ceiling."""
    signal = raw.truth["signal"]
    rate = signal["rate"]
    rows = raw.table("truth_features.tsv")
    ids, _, tpm = raw.expression()
    assert [row["transcript_id"] for row in rows] == ids
    contrast = {
        name: (np.array([int(row[name]) for row in rows]) - rate) / np.sqrt(rate * (1 - rate))
        for name in signal["main"]
    }
    expected = np.array(signal["tissue_base"]) + sum(
        np.outer(contrast[name], effect) for name, effect in signal["main"].items()
    )
    for pair in signal["pairs"]:
        first, second = pair["elements"]
        expected = expected + np.outer(contrast[first] * contrast[second], pair["effect"])
    labels = np.log1p(tpm.reshape(len(ids), len(raw.truth["tissues"]), -1).mean(2))
    r2 = 1 - ((labels - expected) ** 2).sum(0) / ((labels - labels.mean(0)) ** 2).sum(0)
    assert r2 == pytest.approx(raw.truth["noise_ceiling"]["per_tissue"], abs=1e-5)


def test_tpm_are_non_negative_and_add_up_to_a_million(raw: Raw) -> None:
    """Each of the 90 samples adds up to a million within the rounding of two decimals; ids are the annotation's."""
    ids, samples, tpm = raw.expression()
    assert tpm.shape == (400, 90)
    assert tpm.min() >= 0
    assert tpm.sum(0) == pytest.approx(1e6, abs=400 * 0.005)
    assert set(ids) == raw.transcripts.keys()
    attributes = raw.table("sample_attributes.txt")
    rna_seq = [row for row in attributes if row["SMAFRZE"] == "RNASEQ"]
    assert [row["SAMPID"] for row in rna_seq] == samples
    assert list(dict.fromkeys(row["SMTS"] for row in rna_seq)) == raw.truth["tissues"]
    assert len(attributes) > len(rna_seq)


def test_transcripts_share_start_sites_as_in_real_annotation() -> None:
    """1.1 to 1.3 transcripts per distinct (contig, strand, TSS) in the demo."""
    genes = _default_genes()
    starts = {(item.number, isoform.exons[0][0]) for item in genes for isoform in item.gene.isoforms}
    assert 1.1 <= sum(len(item.gene.isoforms) for item in genes) / len(starts) <= 1.3


def test_windows_of_different_genes_rarely_overlap() -> None:
    """Only deliberate head-to-head neighbours do: some, but under 3 % of genes."""
    spans: dict[str, list[tuple[int, int, int]]] = {}
    half = WINDOW_BP // 2
    for item in _default_genes():
        if item.contig != "chrM":
            for isoform in item.gene.isoforms:
                tss = isoform.exons[0][0]
                spans.setdefault(item.contig, []).append((*item.genomic((tss - half, tss + half)), item.number))
    sharing = set()
    for windows in spans.values():
        for (_, end, gene), (start, _, other) in _neighbours(sorted(windows)):
            if start < end and gene != other:
                sharing |= {gene, other}
    assert 0 < len(sharing) < 0.03 * len(_default_genes())


def _neighbours(
    windows: list[tuple[int, int, int]],
) -> list[tuple[tuple[int, int, int], tuple[int, int, int]]]:
    """Each window with each of the next dozen, more than one gene's windows can be."""
    return [(first, second) for at, first in enumerate(windows) for second in windows[at + 1 : at + 13]]


def test_elements_of_different_modalities_are_independent() -> None:
    """Over the demo's transcripts no element tells of one in another modality: |r| < 0.05 among coding transcripts."""
    genes = [item for item in _default_genes() if item.gene.gene_type == "protein_coding" and item.contig != "chrM"]
    bits = (states_of(genes)[:, :, None] >> np.arange(FAMILIES) & 1).astype(float)
    for first, second in combinations(range(3), 2):
        for i in range(FAMILIES):
            for j in range(FAMILIES):
                assert abs(np.corrcoef(bits[:, first, i], bits[:, second, j])[0, 1]) < 0.05


def _ceilings(*overrides: str) -> dict[str, float]:
    params = _params(*overrides)
    states = states_of(_default_genes())
    table = draw_signal(params).table()
    labels = labels_of(simulate_tpm(table[tuple(states.T)], params))
    return {name: float(value.mean()) for name, value in ceilings(table, states, labels).items()}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_noise_ceiling_is_high_and_every_modality_is_needed(seed: int) -> None:
    """Ceiling ≥ 0.8; each modality added raises it by ≥ 0.1; main effects alone stay ≤ 0.75 of it."""
    params = _params(f"fabricate.seed={seed}")
    states = states_of(_default_genes())
    signal = draw_signal(params)
    labels = labels_of(simulate_tpm(signal.table()[tuple(states.T)], params))
    truth = truth_of(_default_genes(), states, signal, labels)
    found = {name: value["mean"] for name, value in truth["ceilings"].items()}
    full = found["dna+rna+protein"]
    assert full >= 0.8
    for pair in ("dna+rna", "dna+protein", "rna+protein"):
        assert full - found[pair] >= 0.1
        for single in pair.split("+"):
            assert found[pair] - found[single] >= 0.1
            assert found[single] >= 0.1
    assert truth["main_effects_ceiling"]["mean"] <= 0.75 * full


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_modality_of_dose_zero_adds_nothing(modality: str) -> None:
    """Its ceiling alone is 0, and a subset's ceiling is the same with it as without it."""
    found = _ceilings(f"fabricate.{modality}_dose=0.0")
    assert found[modality] == pytest.approx(0, abs=1e-9)
    for name, value in found.items():
        rest = "+".join(part for part in name.split("+") if part != modality)
        if rest:
            assert value == pytest.approx(found[rest], abs=1e-9)
    assert found["dna+rna+protein"] > 0.75


def test_without_interactions_the_ceilings_add_up() -> None:
    """With interaction dose 0 the ceiling of all three is the sum of the single ones, within 0.03."""
    found = _ceilings("fabricate.interaction_dose=0.0")
    assert found["dna+rna+protein"] == pytest.approx(sum(found[name] for name in MODALITIES), abs=0.03)
