"""A small fabricated folder, made once."""

from __future__ import annotations

import pytest
from fabricated_reader import Raw, read_raw, small_params

from components.fabricate import step


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Raw:
    """The small fabrication of the default seed."""
    folder = tmp_path_factory.mktemp("fabricate") / "raw"
    step.run({}, small_params(), folder, folder)
    return read_raw(folder)
