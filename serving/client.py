"""A small client of the service, on the standard library alone.

python -m serving.client --url http://127.0.0.1:3000 --rna ACGU...
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from model.errors import InputError


class ServiceError(Exception):
    """The service refused: HTTP status and the answer that says why."""

    def __init__(self, status: int, answer: Mapping[str, Any]) -> None:
        self.status = status
        self.answer = dict(answer)
        details = "; ".join(f"{entry['field']}: {entry['message']}" for entry in answer.get("details", []))
        super().__init__(f"{status}: {answer.get('error')}" + (f" ({details})" if details else ""))


class Client:
    """Asks a running service at `url`; every call raises `ServiceError`, or `OSError` where nothing answers."""

    def __init__(self, url: str = "http://127.0.0.1:3000", timeout_s: float = 60.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(where="url", expected="http:// or https://", found=repr(url), fix="Correct the address.")
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s

    def predict(
        self, items: Sequence[Mapping[str, str]], *, tissues: Sequence[str] | None = None, partial: bool = False
    ) -> dict[str, Any]:
        """Answers to items ({"id"} or any of {"dna", "rna", "protein"}), in their order."""
        body: dict[str, Any] = {"items": [dict(item) for item in items], "partial": partial}
        if tissues is not None:
            body["tissues"] = list(tissues)
        return self._json("/v1/predict", body)

    def model(self) -> dict[str, Any]:
        """Card, metrics, tissues, limits and provenance of the served model."""
        return self._json("/v1/model")

    def not_ready(self) -> str:
        """Why the service is not ready; empty once it reproduced its golden predictions."""
        try:
            self._open("/readyz", None).close()
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode("utf-8", "replace") or str(error)
        except OSError as error:
            return str(error)
        return ""

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until ready; raises `TimeoutError` with the last reason."""
        end = time.monotonic() + timeout_s
        while reason := self.not_ready():
            if time.monotonic() > end:
                raise TimeoutError(f"{self.url} is not ready after {timeout_s:g} s: {reason}")
            time.sleep(0.1)

    def _json(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            with self._open(path, None if body is None else json.dumps(body).encode()) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as error:
            with error:
                text = error.read()
            try:
                answer = json.loads(text)
            except ValueError:
                answer = {"error": error.reason}
            raise ServiceError(error.code, answer) from None

    def _open(self, path: str, body: bytes | None) -> Any:
        headers = {"content-type": "application/json"} if body is not None else {}
        request = urllib.request.Request(self.url + path, data=body, headers=headers)  # noqa: S310 checked in __init__
        return urllib.request.urlopen(request, timeout=self.timeout_s)  # noqa: S310


def format_answer(answer: Mapping[str, Any], *, tissues: int | None = None, width: int = 40) -> str:
    """A prediction answer as text: one bar per tissue, highest first, at most `tissues` of them per item."""
    lines = []
    for item in answer["items"]:
        lines.append(item["id"] or f"item {item['index']} ({' + '.join(item['modalities'])})")
        lines += [f"  error in {error['field']}: {error['message']}" for error in item["errors"]]
        ranked = sorted(item["expression"] or [], key=lambda entry: -entry["log1p_tpm"])[:tissues]
        largest = max((entry["log1p_tpm"] for entry in ranked), default=0.0)
        for entry in ranked:
            bar = "█" * round(width * max(entry["log1p_tpm"], 0.0) / largest) if largest > 0 else ""
            lines.append(f"  {entry['tissue']:<18}{entry['tpm']:>10.2f} TPM  {bar}")
        lines += [f"  note: {note['field']}: {note['message']}" for note in item["notes"]]
    provenance = answer["provenance"]
    simulated = ", trained on simulated data" if provenance["simulated"] else ""
    lines.append(f"model {provenance['version']}{simulated}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask about one transcript and print the answer."""
    parser = argparse.ArgumentParser(description="Ask a running service about one transcript.")
    parser.add_argument("--url", default="http://127.0.0.1:3000")
    for name in ("id", "dna", "rna", "protein"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--tissues", type=int, help="print only the highest")
    options = parser.parse_args(arguments)
    item = {name: value for name in ("id", "dna", "rna", "protein") if (value := getattr(options, name))}
    try:
        print(format_answer(Client(options.url).predict([item]), tissues=options.tissues))
    except (ServiceError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
