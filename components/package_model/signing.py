"""Keys and signatures of packaged models: OpenSSF model signing (Sigstore bundle, in-toto statement) in key mode.

The folder `package` of the Bento's sources is signed; its files.json lists the digests of all other sources. The
signature stands beside a version, not in it: it is another one each time, and a version's digest must not be.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from model.errors import InputError

PRIVATE_NAME, PUBLIC_NAME = "signing-key.pem", "signing-key.pub.pem"


def create_keys(folder: Path) -> tuple[Path, Path]:
    """Write a new P-256 key pair below `folder`, the private one readable by its owner alone; never overwrites."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    private, public = folder / PRIVATE_NAME, folder / PUBLIC_NAME
    for file in (private, public):
        if file.exists():
            raise InputError(
                where=str(file),
                expected="no such file",
                found="one",
                fix="Choose another folder: keys are not replaced.",
            )
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(secret)
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def sign(package: Path, private_key: Path) -> bytes:
    """The signature of every file of a folder, as a Sigstore bundle in JSON; a bad key raises `InputError`."""
    from model_signing import signing

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "signature.json"
        try:
            config = signing.Config().use_elliptic_key_signer(private_key=private_key)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                where=str(private_key),
                expected="an elliptic-curve private key in PEM, without a password",
                found=type(error).__name__,
                fix="Make one with `isoformer keys create`.",
            ) from None
        config.sign(package, out)
        return out.read_bytes()
