"""POST /v1/predict answers as the PyTorch model does, and says exactly what is wrong with what it refuses."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
import pytest
from packaging_inputs import TISSUES, Packaged
from starlette.testclient import TestClient

from components.package_model.golden import inputs_of
from model.predictor import Predictor
from model.torch_backend import TorchBackend
from model.weights import load_model

RNA = "ACGTACGTACGTACGTACGT"


def predict(client: TestClient, items: list[Any], **body: Any) -> Any:
    return client.post("/v1/predict", json={"items": items, **body})


def log1p(answer: dict[str, Any]) -> np.ndarray:
    return np.array([[entry["log1p_tpm"] for entry in item["expression"]] for item in answer["items"]])


def golden(package: Packaged) -> list[dict[str, str]]:
    entries = json.loads((package.source / "package" / "golden.json").read_text())["entries"]
    return [entry["item"] for entry in entries]


def test_answers_equal_the_pytorch_model_in_the_order_of_the_items(client: TestClient, package: Packaged) -> None:
    items = golden(package)[::-1]
    network = load_model(package.inputs["model"] / "payload")
    expected = Predictor(TorchBackend(network), network.config).predict(inputs_of(items)).log1p_tpm
    answer = predict(client, items).json()
    assert [item["index"] for item in answer["items"]] == list(range(len(items)))
    np.testing.assert_allclose(log1p(answer), expected, atol=1e-4, rtol=0)
    np.testing.assert_allclose(
        [[entry["tpm"] for entry in item["expression"]] for item in answer["items"]],
        np.maximum(np.expm1(log1p(answer)), 0),
        rtol=1e-9,
    )
    assert [entry["tissue"] for entry in answer["items"][0]["expression"]] == list(TISSUES)


def test_an_answer_does_not_depend_on_its_neighbours(client: TestClient, package: Packaged) -> None:
    items = golden(package)
    together = log1p(predict(client, items).json())
    alone = np.concatenate([log1p(predict(client, [item]).json()) for item in items])
    np.testing.assert_allclose(together, alone, atol=1e-5, rtol=0)


def test_provenance_names_model_data_and_schema(client: TestClient, package: Packaged) -> None:
    about = json.loads((package.source / "package" / "about.json").read_text())
    provenance = predict(client, [{"rna": RNA}]).json()["provenance"]
    assert provenance == {
        **{name: about[name] for name in ("version", "model_digest", "dataset_version", "simulated")},
        "schema_version": 1,
    }


def test_an_id_is_answered_as_its_sequences_are(client: TestClient, package: Packaged) -> None:
    import pyarrow.parquet as pq

    from components.sequences import Genome, letters_of

    payload = package.inputs["transcripts"] / "payload"
    row = pq.read_table(payload / "transcripts.parquet").to_pylist()[5]
    genome = Genome.open(payload / "genome.safetensors")
    window = genome.window(row["contig"], row["window_start"], row["window_end"], row["strand"])
    sequences = {"dna": letters_of(window), "rna": row["rna"], "protein": row["protein"]}
    name = row["transcript_id"]
    answer = predict(client, [{"id": name}, {"id": name.partition(".")[0]}, sequences]).json()
    assert [item["id"] for item in answer["items"]] == [name, name.partition(".")[0], None]
    by_id, by_bare_id, by_sequences = log1p(answer)
    np.testing.assert_array_equal(by_id, by_bare_id)
    np.testing.assert_allclose(by_id, by_sequences, atol=1e-6)


def test_tissues_are_answered_in_the_order_asked(client: TestClient) -> None:
    everything = predict(client, [{"rna": RNA}]).json()["items"][0]["expression"]
    some = predict(client, [{"rna": RNA}], tissues=["Liver", "Blood", "Liver"]).json()["items"][0]["expression"]
    assert some == [everything[2], everything[0]]
    refused = predict(client, [{"rna": RNA}], tissues=["Blood", "Moon"])
    assert refused.status_code == 422
    assert refused.json()["details"][0]["field"] == "tissues.1"


def test_bad_items_are_named_and_spoil_the_others_unless_partial(client: TestClient) -> None:
    items = [{"rna": RNA}, {"rna": "ACG>"}, {}, {"id": "ENST0"}, {"rna": RNA, "id": "x"}, {"protein": 3}, "rna"]
    refused = predict(client, items)
    assert refused.status_code == 422
    assert [(detail["item"], detail["field"]) for detail in refused.json()["details"]] == [
        (1, "rna"),
        (2, "item"),
        (3, "id"),
        (4, "item"),
        (5, "protein"),
        (6, "item"),
    ]
    answer = predict(client, items, partial=True)
    assert answer.status_code == 200
    answered = [item["index"] for item in answer.json()["items"] if item["expression"] is not None]
    assert answered == [0]
    assert all(item["errors"] for item in answer.json()["items"][1:])


@pytest.mark.parametrize(
    ("item", "same_as", "codes"),
    [
        ({"rna": "acguacgu"}, {"rna": "ACGTACGT"}, []),
        ({"rna": "ACG\nT ACGT"}, {"rna": "ACGTACGT"}, ["space_dropped"]),
        ({"rna": "ACGRACGT"}, {"rna": "ACGNACGT"}, ["unknown_to_n"]),
        ({"protein": "mkv*"}, {"protein": "MKV"}, ["stop_dropped"]),
        ({"dna": "ACGT" * 200}, {"dna": ("ACGT" * 200)[144:656]}, ["cut"]),
        ({"dna": "ACGT" * 100}, {"dna": "N" * 56 + "ACGT" * 100 + "N" * 56}, ["padded"]),
        ({"rna": "ACGT" * 1000}, {"rna": ("ACGT" * 1000)[-255 * 6 :]}, ["cropped"]),
        ({"protein": "M" * 300}, {"protein": "M" * 254}, ["cropped"]),
    ],
)
def test_what_is_changed_in_a_sequence_is_told(
    client: TestClient, item: dict[str, str], same_as: dict[str, str], codes: list[str]
) -> None:
    answer = predict(client, [item, same_as]).json()
    first, second = log1p(answer)
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert [note["code"] for note in answer["items"][0]["notes"]] == codes


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"items": [{"rna": "ACGT"}], "x": NaN}', 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b"null", 422),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"items": []}', 422),
        (b'{"items": {}}', 422),
        (b'{"items": [{"rna": "ACGT"}], "unknown": 1}', 422),
        (b'{"items": [{"rna": "ACGT"}], "schema_version": 2}', 422),
        (b'{"items": [{"rna": "ACGT"}], "partial": "yes"}', 422),
        (b'{"items": [{"rna": ""}]}', 422),
        (b'{"items": [{"rna": "   "}]}', 422),
        ('{"items": [{"rna": "ACGT🧬"}]}'.encode(), 422),
        (b'{"items": [{"rna": "ACGT\\ud800"}]}', 422),
    ],
)
def test_a_body_that_cannot_be_read_is_the_clients_error(client: TestClient, body: bytes, status: int) -> None:
    answer = client.post("/v1/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "media_type", ["application/vnd.bentoml+pickle", "text/plain", "multipart/form-data; boundary=x", ""]
)
def test_anything_but_json_is_refused(client: TestClient, media_type: str) -> None:
    answer = client.post("/v1/predict", content=b'{"items": [{"rna": "ACGT"}]}', headers={"content-type": media_type})
    assert answer.status_code == 415


def test_no_sequence_and_no_clients_path_reaches_the_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    secret = "ACGTTGCAACGTTGCATTAGC"
    with caplog.at_level(logging.DEBUG):
        predict(client, [{"rna": secret}])
        predict(client, [{"rna": secret + "!"}, {"id": secret}, {"x": secret}])
        client.post("/v1/predict", content=secret, headers={"content-type": "application/json"})
        client.get(f"/{secret}?q={secret}")
    records = [record for record in caplog.records if record.name.startswith("isoformer")]
    assert len({vars(record)["request_id"] for record in records}) == 4
    assert secret not in "".join(str(vars(record)) for record in records)


def test_every_answer_has_security_headers_and_a_request_id(client: TestClient) -> None:
    for answer in (client.get("/"), client.get("/nowhere"), predict(client, []), client.get("/v1/model")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"]
    assert client.get("/", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert client.get("/", headers={"x-request-id": "bad id"}).headers["x-request-id"] != "bad id"
