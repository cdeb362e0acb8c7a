"""Optional API keys: who may ask. Compared in constant time, never logged, kept as digests."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from pathlib import Path

from model.errors import InputError

MIN_LENGTH = 16
# What probes and the page itself need before a key can be typed in.
OPEN_PATHS = frozenset(("/", "/livez", "/readyz", "/healthz", "/openapi.json"))
OPEN_PREFIX = "/static/"


def read_keys(file: str) -> tuple[bytes, ...]:
    """Digests of the keys in a file, one per line, `#` for comments; no file named means no keys are asked for.

    Raises `InputError` where the file cannot be read, is empty, or holds a key too short to keep anyone out.
    """
    if not file:
        return ()
    try:
        lines = [line.strip() for line in Path(file).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(
            where=file, expected="a file of API keys", found=type(error).__name__, fix="Mount it, or name none."
        ) from None
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys or min(map(len, keys)) < MIN_LENGTH:
        raise InputError(
            where=file,
            expected=f"keys of at least {MIN_LENGTH} characters, one per line",
            found="a shorter one" if keys else "none",
            fix="Make one with `python -c 'import secrets; print(secrets.token_urlsafe())'`.",
        )
    return tuple(_digest(key.encode()) for key in keys)


def may_pass(path: str, headers: Mapping[bytes, bytes], keys: Iterable[bytes]) -> bool:
    """Whether a request may pass: no keys are set, the path is open, or it bears one (Authorization or X-API-Key)."""
    keys = tuple(keys)
    if not keys or path in OPEN_PATHS or path.startswith(OPEN_PREFIX):
        return True
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    given = token.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")
    digest = _digest(given)
    # Every key is compared: the time tells neither which one fitted nor how far it did.
    return sum(hmac.compare_digest(digest, key) for key in keys) > 0


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
