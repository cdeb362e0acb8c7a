"""POST /v1/effect: variants of the mounted reference, and pairs of transcripts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from packaging_inputs import Packaged
from starlette.testclient import TestClient

from components.sequences import Genome, letters_of
from serving.effect_schema import EffectRequest
from serving.openapi import openapi


@pytest.fixture(scope="module")
def rows(package: Packaged) -> list[dict[str, Any]]:
    found = pq.read_table(package.inputs["transcripts"] / "payload" / "transcripts.parquet").to_pylist()
    return list(found)


@pytest.fixture(scope="module")
def genome(package: Packaged) -> Genome:
    return Genome.open(package.inputs["transcripts"] / "payload" / "genome.safetensors")


def ask(client: TestClient, items: list[Any], **body: Any) -> Any:
    return client.post("/v1/effect", json={"items": items, **body})


def snv(genome: Genome, position: int, contig: str = "chr1") -> str:
    base = letters_of(genome.window(contig, position, position + 1, "+"))
    return f"{contig}:{position + 1}:{base}:{'ACGT'[('ACGT'.index(base) + 1) % 4]}"


def sequences(row: dict[str, Any], genome: Genome) -> dict[str, str]:
    window = genome.window(row["contig"], row["window_start"], row["window_end"], row["strand"])
    given = {"dna": letters_of(window), "rna": row["rna"], "protein": row["protein"]}
    return {name: value for name, value in given.items() if value}


@pytest.mark.parametrize("index", [4, 5])
def test_a_variant_is_answered_as_its_two_transcripts_are(
    client: TestClient, rows: list[dict[str, Any]], genome: Genome, index: int
) -> None:
    row = rows[index]
    before = sequences(row, genome)
    # In the 5' UTR, within the window: DNA and RNA change in one base, the protein does not.
    position = row["tss"] + (3 if row["strand"] == "+" else -3)
    middle = len(before["dna"]) // 2
    variant = snv(genome, position)
    sense = variant[-1] if row["strand"] == "+" else "TGCA"["ACGT".index(variant[-1])]
    after = dict(before)
    after["rna"] = before["rna"][:3] + sense + before["rna"][4:]
    after["dna"] = before["dna"][: middle + 3] + sense + before["dna"][middle + 4 :]
    answer = ask(
        client, [{"variant": variant, "id": row["transcript_id"]}, {"reference": before, "alternative": after}]
    )
    by_variant, by_pair = answer.json()["items"]
    assert by_variant["consequences"] == ["5_prime_UTR_variant"]
    assert by_variant["variant"] == variant
    for one, other in zip(by_variant["effect"], by_pair["effect"], strict=True):
        assert one["log1p_tpm_change"] == pytest.approx(other["log1p_tpm_change"], abs=1e-6)
        change = one["alternative_log1p_tpm"] - one["reference_log1p_tpm"]
        assert one["log1p_tpm_change"] == pytest.approx(change, abs=1e-6)
    assert any(abs(entry["log1p_tpm_change"]) > 1e-6 for entry in by_variant["effect"])
    assert answer.json()["validation"] == "unvalidated"


def test_both_sides_equal_predictions(client: TestClient, rows: list[dict[str, Any]]) -> None:
    first, second = ({"rna": rows[index]["rna"]} for index in (2, 3))
    effect = ask(client, [{"reference": first, "alternative": second}]).json()["items"][0]["effect"]
    predicted = client.post("/v1/predict", json={"items": [first, second]}).json()["items"]
    for side, item in zip(("reference", "alternative"), predicted, strict=True):
        expected = [entry["log1p_tpm"] for entry in item["expression"]]
        np.testing.assert_allclose([entry[f"{side}_log1p_tpm"] for entry in effect], expected, atol=1e-6)


def test_splice_sites_leave_rna_and_protein_and_say_so(
    client: TestClient, rows: list[dict[str, Any]], genome: Genome
) -> None:
    row = rows[4]
    item = {"variant": snv(genome, row["exon_ends"][0]), "id": row["transcript_id"].partition(".")[0]}
    answer = ask(client, [item]).json()["items"][0]
    assert answer["consequences"] == ["splice_donor_variant"]
    assert answer["caveats"] == ["splicing_not_modelled"]


def test_a_frame_shift_and_a_lost_start_change_the_protein(
    client: TestClient, rows: list[dict[str, Any]], genome: Genome
) -> None:
    row = rows[4]
    place = row["exon_starts"][0] + row["cds_start"]
    bases = letters_of(genome.window("chr1", place + 3, place + 4, "+"))
    deletion, start = f"chr1:{place + 4}:{bases}:-", snv(genome, place)
    shifted, lost = ask(client, [{"variant": text, "id": row["transcript_id"]} for text in (deletion, start)]).json()[
        "items"
    ]
    assert shifted["consequences"] == ["frameshift_variant"]
    assert shifted["protein_residues"][0] == len(row["protein"])
    assert lost["consequences"] == ["start_lost"]
    assert lost["protein_residues"] == [len(row["protein"]), 0]


def test_bad_changes_are_named_by_item_and_field(
    client: TestClient, rows: list[dict[str, Any]], genome: Genome
) -> None:
    good = {"variant": snv(genome, rows[4]["tss"]), "id": rows[4]["transcript_id"]}
    wrong_base = good["variant"].split(":")
    wrong_base[2], wrong_base[3] = wrong_base[3], wrong_base[2]
    bad = [
        ({**good, "variant": ":".join(wrong_base)}, "variant"),
        ({**good, "variant": "chr1:1:A"}, "variant"),
        ({**good, "variant": "chr9:1:A:C"}, "variant"),
        ({**good, "id": "nothing"}, "id"),
        ({"variant": good["variant"]}, "item"),
        ({"reference": {"rna": "ACGT"}}, "item"),
        ({**good, "reference": {"rna": "ACGT"}, "alternative": {"rna": "ACGA"}}, "item"),
        ({"reference": {"rna": "ACGT"}, "alternative": {"rna": "AC!T"}}, "alternative.rna"),
        ({"reference": {}, "alternative": {"rna": "ACGT"}}, "reference"),
    ]
    refused = ask(client, [good, *(item for item, _ in bad)])
    assert refused.status_code == 422
    found = [(detail["item"], detail["field"]) for detail in refused.json()["details"]]
    assert found == [(index, field) for index, (_, field) in enumerate(bad, start=1)]
    partial = ask(client, [good, bad[0][0]], partial=True).json()["items"]
    assert partial[0]["effect"]
    assert partial[1]["effect"] is None
    assert partial[1]["errors"]


def test_without_a_reference_variants_are_refused_and_pairs_answered(start: Any) -> None:
    client: TestClient = start()
    refused = ask(client, [{"variant": "chr1:1:A:C", "id": "x"}])
    assert (refused.status_code, refused.json()["details"][0]["field"]) == (422, "id")
    assert client.get("/v1/transcripts", params={"gene": "x"}).status_code == 404
    (example,) = openapi()["components"]["schemas"]["EffectRequest"]["examples"]
    EffectRequest.model_validate(example)
    assert ask(client, [example["items"][0]]).status_code == 200


def test_the_transcripts_of_a_gene_are_listed(client: TestClient, rows: list[dict[str, Any]]) -> None:
    expected = [row["transcript_id"] for row in rows if row["gene_name"] == "GENE2"]
    for name in ("GENE2", "gene2", rows[4]["gene_id"], rows[4]["gene_id"].partition(".")[0], rows[4]["transcript_id"]):
        answer = client.get("/v1/transcripts", params={"gene": name}).json()
        assert [entry["transcript_id"] for entry in answer["transcripts"]] == expected
    assert answer["transcripts"][0]["rna_nt"] == len(rows[4]["rna"])
    assert client.get("/v1/transcripts", params={"gene": "none"}).json()["transcripts"] == []
    assert client.get("/v1/transcripts").status_code == 422
