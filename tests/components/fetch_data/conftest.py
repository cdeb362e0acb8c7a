"""A file server on loopback, and a file to fetch from it."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import numpy as np
import pytest
from file_server import Handler, Site


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    handler = type("SiteHandler", (Handler,), {"site": site})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        site.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield site
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def content() -> bytes:
    """A gzip file of some 3 MB that does not compress."""
    return gzip.compress(np.random.default_rng(0).bytes(3_000_000), compresslevel=0, mtime=0)
