"""Windows, splicing, translation: properties that hold for every genome."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.sequences import (
    CODE_N,
    MITOCHONDRIAL_CODE,
    Genome,
    GenomeWriter,
    letters_of,
    letters_of_bytes,
    reverse_complement,
    splice,
    translate,
    translate_all,
    window_interval,
)
from model.errors import InputError
from model.tokenizers import dna_codes

BASES = st.text(alphabet="ACGTN", min_size=1, max_size=200)
STRANDS = st.sampled_from("+-")


def write(path: Path, contigs: dict[str, str]) -> Genome:
    """A genome file of these letters."""
    writer = GenomeWriter(path)
    for name, letters in contigs.items():
        writer.start(name)
        writer.write(dna_codes(letters).tobytes())
    writer.close()
    return Genome.open(path)


@given(BASES)
def test_reverse_complement_is_an_involution(letters: str) -> None:
    """Twice is nothing; N stays N; lengths stay."""
    codes = dna_codes(letters)
    assert letters_of(reverse_complement(reverse_complement(codes))) == letters
    assert (reverse_complement(codes) == CODE_N).sum() == letters.count("N")


@given(BASES)
def test_reverse_complement_is_that_of_the_letters(letters: str) -> None:
    """As Biopython has it; the given codes stay as they were, the new ones are contiguous and can be written."""
    from Bio.Seq import Seq

    codes = dna_codes(letters)
    turned = reverse_complement(codes)
    assert letters_of(turned) == str(Seq(letters).reverse_complement())
    assert letters_of(codes) == letters
    assert turned.flags.c_contiguous
    assert turned.flags.writeable


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(BASES, st.data(), STRANDS, st.integers(1, 300))
def test_tss_base_is_at_the_middle_of_the_window(
    tmp_path: Path, letters: str, data: st.DataObject, strand: str, window_bp: int
) -> None:
    """At window_bp // 2 on both strands, for odd and even lengths; N beyond the contig and nowhere else."""
    genome = write(tmp_path / "g.safetensors", {"c": letters})
    tss = data.draw(st.integers(0, len(letters) - 1))
    start, end = window_interval(tss, strand, window_bp)
    assert end - start == window_bp
    window = genome.window("c", start, end, strand)
    base = dna_codes(letters[tss])
    assert window[window_bp // 2] == (base if strand == "+" else reverse_complement(base))[0]
    padded = "".join(letters[i] if 0 <= i < len(letters) else "N" for i in range(start, end))
    expected = dna_codes(padded) if strand == "+" else reverse_complement(dna_codes(padded))
    assert (window == expected).all()


@given(BASES, st.data(), STRANDS)
def test_spliced_length_is_that_of_the_exons(letters: str, data: st.DataObject, strand: str) -> None:
    """And the minus strand is the reverse complement of the plus strand."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(letters)), min_size=2, max_size=8, unique=True)))
    exons = list(zip(cuts[::2], cuts[1::2], strict=False))
    contig = dna_codes(letters)
    spliced = splice(contig, exons, strand)
    forward = "".join(letters[start:end] for start, end in exons)
    assert len(spliced) == sum(end - start for start, end in exons)
    assert letters_of_bytes(splice(contig, exons, "+")) == forward
    expected = forward if strand == "+" else letters_of(reverse_complement(dna_codes(forward)))
    assert letters_of_bytes(spliced) == expected


@pytest.mark.parametrize(("table", "number"), [(1, 1), (2, MITOCHONDRIAL_CODE)])
def test_translation_is_that_of_biopython(table: int, number: int) -> None:
    """All 125 codons with N, both codes; Biopython leaves more codons open than N demands, never other residues."""
    from Bio.Seq import Seq

    for codon in (a + b + c for a in "ACGTN" for b in "ACGTN" for c in "ACGTN"):
        expected = str(Seq(codon).translate(table=table))
        ours = translate(dna_codes(codon), number)
        assert ours == expected or expected in "XBZJ", codon


@given(BASES)
def test_translation_reads_whole_codons(letters: str) -> None:
    """One residue per three bases, each of its own codon alone."""
    protein = translate(dna_codes(letters))
    assert len(protein) == len(letters) // 3
    assert protein == "".join(translate(dna_codes(letters[i : i + 3])) for i in range(0, len(letters) - 2, 3))


@given(st.lists(st.text(alphabet="ACGTN", max_size=40), max_size=8))
def test_many_are_translated_as_one_by_one(pieces: list[str]) -> None:
    """None reads into the next."""
    assert translate_all([dna_codes(item).tobytes() for item in pieces]) == [
        translate(dna_codes(item)) for item in pieces
    ]


def test_genome_is_a_safetensors_file_of_the_same_bytes_each_time(tmp_path: Path) -> None:
    """Other readers see uint8 vectors by contig, in order; windows are copies, the file is only mapped."""
    from safetensors.numpy import load_file

    contigs = {"chr2": "ACGTN", "chr10": "GG", "chrM": "T" * 70_000}
    genome = write(tmp_path / "a.safetensors", contigs)
    write(tmp_path / "b.safetensors", contigs)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert genome.contigs == list(contigs)
    assert genome.length("chr10") == 2
    assert "chr10" in genome
    assert "chr1" not in genome
    loaded = load_file(tmp_path / "a.safetensors")
    assert {name: letters_of(codes) for name, codes in loaded.items()} == contigs
    window = genome.window("chr2", 0, 4, "+")
    window[:] = CODE_N
    assert letters_of(genome.window("chr2", 0, 4, "+")) == "ACGT"


def test_genome_of_many_contigs_has_room_for_their_names(tmp_path: Path) -> None:
    """5,000 scaffolds need a larger header than is kept free at first."""
    from safetensors.numpy import load_file

    contigs = {f"scaffold_{i}": "ACGT"[i % 4] * 3 for i in range(5000)}
    genome = write(tmp_path / "g.safetensors", contigs)
    assert all(letters_of(genome.codes(name)) == letters for name, letters in contigs.items())
    assert len(load_file(tmp_path / "g.safetensors")) == 5000
    assert [path.name for path in tmp_path.iterdir()] == ["g.safetensors"]


@pytest.mark.parametrize("damage", ["truncate", "extend", "garbage", "empty"])
def test_damaged_genome_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    """Not read past its end, not taken for another file."""
    path = tmp_path / "g.safetensors"
    write(path, {"c": "ACGT"})
    content = path.read_bytes()
    path.write_bytes({"truncate": content[:-1], "extend": content + b"x", "garbage": b"{}" * 99, "empty": b""}[damage])
    with pytest.raises(InputError, match=r"g\.safetensors: expected a genome"):
        Genome.open(path)


def test_unknown_contig_or_backward_interval_is_refused(tmp_path: Path) -> None:
    """By place."""
    genome = write(tmp_path / "g.safetensors", {"c": "ACGT"})
    with pytest.raises(InputError, match=r"d:0-2: .* an unknown contig"):
        genome.window("d", 0, 2, "+")
    with pytest.raises(InputError, match="an end before the start"):
        genome.window("c", 2, 0, "+")
    assert np.array_equal(genome.window("c", 90, 93, "-"), [CODE_N] * 3)
