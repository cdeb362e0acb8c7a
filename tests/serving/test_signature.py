"""A server with a public key is ready only with a package that the private half signed, and says why not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from packaging_inputs import Packaged, package_params
from starlette.testclient import TestClient

from components.artifacts import AlreadyComplete, open_artifact, sha256_file
from components.package_model.bento import seal
from components.package_model.signing import create_keys, sign
from components.package_model.step import run
from components.registry import Registry
from model.errors import InputError


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return create_keys(tmp_path_factory.mktemp("keys"))


def error_of(client: TestClient) -> str:
    return str(client.get("/v1/model").json().get("error", ""))


def test_what_was_signed_is_served_and_a_flipped_byte_is_not(
    source: Path, start: Any, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    private, public = keys
    package, signature = source / "package", tmp_path / "signature.json"
    signature.write_bytes(sign(package, private))
    settings = {"package": package, "public_key": public, "signature": signature}
    assert error_of(start(**settings)) == ""
    golden = package / "golden.json"
    whole, listing = golden.read_bytes(), (package / "files.json").read_bytes()
    golden.write_bytes(whole.replace(b"1", b"2", 1))
    # The list of digests is made anew, as an attacker would: the signature alone stands in the way.
    seal(source, json.loads((package / "about.json").read_text()))
    assert "signature" in error_of(start(**settings))
    golden.write_bytes(whole)
    (package / "files.json").write_bytes(listing)
    assert error_of(start(**settings)) == ""
    (package / "added.bin").write_bytes(b"x")
    assert "signature" in error_of(start(**settings))


def test_another_key_and_a_missing_signature_are_refused(
    source: Path, start: Any, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    private, public = keys
    other, _ = create_keys(tmp_path / "others")
    signature = tmp_path / "signature.json"
    signature.write_bytes(sign(source / "package", other))
    assert "signature" in error_of(start(package=source / "package", public_key=public, signature=signature))
    assert "a public key is configured" in error_of(start(package=source / "package", public_key=public))
    signature.write_text("{}")
    assert "signature" in error_of(start(package=source / "package", public_key=public, signature=signature))
    signature.write_bytes(sign(source / "package", private))
    bad = start(package=source / "package", public_key=tmp_path / "nothing", signature=signature)
    assert "signature" in error_of(bad)


def test_keys_are_private_and_never_replaced(keys: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = keys
    assert private.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in public.read_bytes()
    with pytest.raises(InputError, match="not replaced"):
        create_keys(private.parent)
    (tmp_path / "bad.pem").write_text("no key")
    with pytest.raises(InputError, match="private key"):
        sign(tmp_path, tmp_path / "bad.pem")
    if os.geteuid():
        assert not os.access(private, os.W_OK) or private.owner()


def test_a_version_is_registered_with_the_signature_of_its_package(
    package: Packaged, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    private, public = keys
    params = package_params(tmp_path / "registry", f"package.signing_key={private}")
    with pytest.raises(AlreadyComplete):
        run(package.inputs, params, package.out, tmp_path / "work")
    registry = Registry(tmp_path / "registry")
    (record,) = registry.list()
    assert record["signed"] is True
    signature = registry.fetch_signature(record["version"], tmp_path / "cache")
    from serving.signature import verify_signature

    fetched = registry.fetch(record["version"], tmp_path / "cache") / "bento" / "src" / "package"
    verify_signature(fetched, str(signature), str(public))
    unsigned = Registry(package.registry)
    assert unsigned.fetch_signature(unsigned.list()[0]["version"], tmp_path / "cache") is None


def test_the_bill_of_materials_names_every_distribution_and_file(package: Packaged) -> None:
    folder = package.source / "package"
    bill = json.loads((folder / "bom.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    pins = (package.source / "requirements.txt").read_text().split()
    libraries = {f"{entry['name']}=={entry['version']}" for entry in bill["components"] if entry["type"] == "library"}
    assert libraries == set(pins)
    files = {entry["name"]: entry["hashes"][0]["content"] for entry in bill["components"] if entry["type"] == "file"}
    assert files["model.onnx"] == sha256_file(folder / "model.onnx")
    references = [entry["bom-ref"] for entry in bill["components"]]
    assert len(references) == len(set(references))
    assert set(bill["dependencies"][0]["dependsOn"]) == set(references)
    digest = open_artifact(package.inputs["model"], "model").digest
    assert bill["metadata"]["component"]["hashes"][0]["content"] == digest
    assert all(entry.get("licenses") for entry in bill["components"] if entry["name"] in ("numpy", "bentoml"))
