"""One small fabricated data set, taken through the real steps once per test session."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.params import Params, load_params

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def sanity_params() -> Params:
    """params.yaml with the sanity preset: 300 simulated transcripts, the smallest network, 20 optimizer steps."""
    return load_params(ROOT / "params.yaml", preset="sanity")


@pytest.fixture(scope="session")
def raw_inputs(tmp_path_factory: pytest.TempPathFactory, sanity_params: Params) -> dict[str, Path]:
    """The four raw files of the fabricated data set."""
    from components.fabricate.step import run
    from components.raw_data import find_raw_data

    folder = tmp_path_factory.mktemp("fabricated")
    run({}, sanity_params, folder / "raw", folder / "work")
    return find_raw_data(folder / "raw", sanity_params.data)


@pytest.fixture(scope="session")
def transcripts(tmp_path_factory: pytest.TempPathFactory, sanity_params: Params, raw_inputs: dict[str, Path]) -> Path:
    """The transcripts artifact of the fabricated data set."""
    from components.extract_sequences.step import run as extract_sequences
    from components.validate_data.step import run as validate_data

    folder = tmp_path_factory.mktemp("extracted")
    validate_data(raw_inputs, sanity_params, folder / "validation", folder / "work")
    inputs = {**raw_inputs, "validation": folder / "validation"}
    extract_sequences(inputs, sanity_params, folder / "transcripts", folder / "work")
    return folder / "transcripts"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, sanity_params: Params, transcripts: Path) -> Path:
    """The model artifact of a 20-step training run."""
    from components.train_model.step import run

    folder = tmp_path_factory.mktemp("trained")
    run({"transcripts": transcripts}, sanity_params, folder / "model", folder / "work")
    return folder / "model"
