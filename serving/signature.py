"""Verifying the signature of the package, offline, with the one public key that the operator trusts."""

from __future__ import annotations

from pathlib import Path

from model.errors import InputError


def verify_signature(package: Path, signature: str, public_key: str) -> None:
    """Check that every file of `package` is as it was signed by the private half of `public_key` (PEM).

    Raises `InputError` with the reason: no signature, another key, a changed, missing or added file.
    """
    if not signature or not Path(signature).is_file():
        raise InputError(
            where="the package's signature",
            expected="a signature: a public key is configured",
            found=f"no file {signature}" if signature else "none",
            fix="Serve a signed version, or set ISOFORMER_SERVE_SIGNATURE.",
        )
    from model_signing import verifying

    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
        config.verify(package, signature)
    except Exception as error:
        # The library raises ValueError, OSError and those of cryptography; each means that nothing is proven.
        raise InputError(
            where="the package's signature",
            expected="one by the configured public key over these very files",
            found=f"{type(error).__name__}: {str(error)[:160] or 'no match'}",
            fix="The package is not what was signed, or by another key: do not serve it.",
        ) from None
