"""A file server on loopback that misbehaves as told."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler


@dataclass
class Site:
    """Contents by path; `cut_after`: bytes per connection, by connection, after which it is closed (None: whole)."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int | None] = field(default_factory=list)
    ranges: bool = True
    validators: bool = True
    status: dict[str, list[int]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    chunked: bool = False
    redirects: dict[str, str] = field(default_factory=dict)
    # (path, Range header) of each request
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        site = self.site
        wanted = self.headers.get("Range")
        site.asked.append((self.path, wanted))
        self.close_connection = True
        if self.path in site.redirects:
            self.send_response(302)
            self.send_header("Location", site.redirects[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        statuses = site.status.get(self.path, [])
        if statuses or self.path not in site.files:
            self.send_response(statuses.pop(0) if statuses else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = site.files[self.path]
        tag = f'"{hashlib.sha256(content).hexdigest()[:12]}"'
        start = 0
        if wanted and site.ranges and self.headers.get("If-Range") == tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if site.validators:
            self.send_header("ETag", tag)
        for name, value in site.headers.items():
            self.send_header(name, value)
        if site.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self._send(content[start:])

    def _send(self, body: bytes) -> None:
        cut = self.site.cut_after.pop(0) if self.site.cut_after else None
        sent = body if cut is None else body[:cut]
        if not self.site.chunked:
            self.wfile.write(sent)
            return
        self.wfile.write(
            b"%x\r\n%s\r\n" % (len(body), sent) if cut is not None else b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), sent)
        )

    def log_message(self, format: str, *args: object) -> None:
        pass
