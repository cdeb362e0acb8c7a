"""HTTP as uvicorn reads it in C, with the bound on a request's head that its Python reader has and this one lacks."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# As h11_impl: what no header of ours comes near.
MAX_HEAD_BYTES = 65_536
_REFUSAL = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request line and headers do not end within `MAX_HEAD_BYTES`."""

    _head_bytes = 0
    _in_head = True
    _progress = False

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._progress = False
        super().data_received(data)
        # Of what ended a head or a message, nobody knows how much belongs to the next head; one read is bounded anyway.
        if self._in_head and not self._progress:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(_REFUSAL)
                self.transport.close()

    def on_headers_complete(self) -> None:
        """The head has ended."""
        self._in_head, self._head_bytes, self._progress = False, 0, True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next head may begin."""
        self._in_head, self._head_bytes, self._progress = True, 0, True
        super().on_message_complete()
