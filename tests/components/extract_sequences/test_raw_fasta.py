"""FASTA straight from raw files: the bytes do not depend on the processes, and are what extraction says."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.extract_sequences import annotation as annotation_module
from components.extract_sequences.annotation import read_annotation
from components.extract_sequences.export_fasta import FILES
from components.extract_sequences.fasta import write_genome
from components.extract_sequences.raw_fasta import fasta_of_raw
from components.extract_sequences.transcripts import extract
from components.sections import ExtractParams
from components.sequences import Genome
from model.errors import InputError


def test_same_bytes_whatever_the_processes(
    raw_inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1, 2, 3 and 7 of them; and what is written is what `extract` cuts, in its order."""
    monkeypatch.setattr(annotation_module, "_LARGE_BYTES", 0)
    params = ExtractParams(window_bp=2048, window_overflow="drop")
    written = []
    for processes in (1, 2, 3, 7):
        out = tmp_path / str(processes)
        told = fasta_of_raw(raw_inputs["genome"], raw_inputs["annotation"], out, params, processes)
        assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
        written.append((told, [(out / name).read_bytes() for name in FILES]))
    assert all(item == written[0] for item in written)
    write_genome(raw_inputs["genome"], tmp_path / "g")
    found = extract(read_annotation(raw_inputs["annotation"]), Genome.open(tmp_path / "g"), params)
    told, contents = written[0]
    assert told.dropped == found.dropped
    assert told.dropped["window_past_contig_end"] > 0
    names = [line[1:].split()[0] for line in contents[0].decode().splitlines() if line.startswith(">")]
    assert names == [item.transcript_id for item in found.transcripts]
    proteins = "".join(line for line in contents[2].decode().splitlines() if not line.startswith(">"))
    assert proteins == "".join(item.protein or "" for item in found.transcripts)


@pytest.mark.parametrize("broken", ["genome", "annotation"])
def test_bad_input_leaves_nothing(raw_inputs: dict[str, Path], tmp_path: Path, broken: str) -> None:
    """Whichever process it was found in."""
    path = tmp_path / "broken"
    content = raw_inputs[broken].read_bytes()
    path.write_bytes(content[: len(content) // 2])
    inputs = {**raw_inputs, broken: path}
    with pytest.raises(InputError, match="truncated or damaged"):
        fasta_of_raw(inputs["genome"], inputs["annotation"], tmp_path / "out", processes=2)
    assert not list((tmp_path / "out").iterdir())


def test_a_file_that_is_there_stays(raw_inputs: dict[str, Path], tmp_path: Path) -> None:
    """Nothing is overwritten."""
    (tmp_path / "cds.fa").write_text("mine")
    with pytest.raises(InputError, match=r"cds\.fa: expected no such file"):
        fasta_of_raw(raw_inputs["genome"], raw_inputs["annotation"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cds.fa"]
