"""Against the field's own tools on fabricated data: gffread for sequences, MMseqs2 for families (both from Debian)."""

from __future__ import annotations

import gzip
import itertools
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from test_extract_splits import mutated, random_protein, transcript

from components.extract_sequences.annotation import read_annotation
from components.extract_sequences.families import join_families, similar_proteins
from components.extract_sequences.fasta import write_genome
from components.extract_sequences.transcripts import Transcript, extract
from components.sections import ExtractParams
from components.sequences import Genome

pytestmark = pytest.mark.slow


def tool(name: str) -> str:
    """Its path, or a loud skip."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"NOT PROVEN HERE: {name} is not installed (Debian package {name.replace('mmseqs', 'mmseqs2')})")
    return found


def records(path: Path) -> dict[str, str]:
    """Sequences of a FASTA by the first word of their header."""
    parts = path.read_text().split(">")[1:]
    return {part.split(None, 1)[0]: "".join(part.splitlines()[1:]) for part in parts}


def test_fabricated_transcripts_are_those_of_gffread(raw_inputs: dict[str, Path], tmp_path: Path) -> None:
    """RNA and CDS of all; protein but for what gffread does not know: selenocysteine and the mitochondrial code."""
    gffread = tool("gffread")
    for name in ("genome", "annotation"):
        (tmp_path / name).write_bytes(gzip.decompress(raw_inputs[name].read_bytes()))
    outputs = ["-w", tmp_path / "rna", "-x", tmp_path / "cds", "-y", tmp_path / "protein"]
    subprocess.run([gffread, *outputs, "-g", tmp_path / "genome", tmp_path / "annotation"], check=True)
    write_genome(raw_inputs["genome"], tmp_path / "genome.safetensors")
    found = extract(
        read_annotation(raw_inputs["annotation"]), Genome.open(tmp_path / "genome.safetensors"), ExtractParams()
    )
    ours = {item.transcript_id: item for item in found.transcripts}
    assert not found.dropped
    assert {name: item.rna for name, item in ours.items()} == {
        name: letters.upper() for name, letters in records(tmp_path / "rna").items()
    }
    coding = {name: item for name, item in ours.items() if item.cds_start >= 0}
    cds, protein = records(tmp_path / "cds"), records(tmp_path / "protein")
    assert coding.keys() == cds.keys()
    explained = 0
    for name, item in coding.items():
        own = item.rna[item.cds_start + item.cds_phase : item.cds_end]
        assert cds[name].upper() in (own, own + item.rna[item.cds_end : item.cds_end + 3]), name
        if item.protein != protein[name].replace(".", "*").rstrip("*"):
            assert {"selenocysteine", "mitochondrial_code"} & set(item.reasons), name
            explained += 1
    assert 0 < explained <= 10


def clusters(mmseqs: str, proteins: dict[str, str], folder: Path) -> dict[str, str]:
    """MMseqs2's cluster of each protein, at 60 % identity over 80 % of both."""
    (folder / "proteins.fa").write_text("".join(f">{name}\n{residues}\n" for name, residues in proteins.items()))
    options = ["--min-seq-id", "0.6", "-c", "0.8", "--threads", "1"]
    command = [mmseqs, "easy-cluster", "proteins.fa", "clusters", "work", *options]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    lines = (folder / "clusters_cluster.tsv").read_text().splitlines()
    return {member: representative for representative, member in (line.split("\t") for line in lines)}


def test_families_of_real_proteins_hold_those_of_mmseqs2(
    shared_transcripts: dict[str, Transcript], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Genes of the shared pieces of GRCh38, joined where MMseqs2 puts any of their proteins into one cluster."""
    mmseqs = tool("mmseqs")
    proteins = {name: item.protein.rstrip("*") for name, item in shared_transcripts.items() if item.protein}
    gene_of = {name: shared_transcripts[name].gene_id for name in proteins}
    genes = sorted(set(gene_of.values()))
    of_peer = clusters(mmseqs, proteins, tmp_path)
    joined = join_families({gene: gene for gene in genes}, ((gene_of[a], gene_of[b]) for a, b in of_peer.items()))
    links = similar_proteins(shared_transcripts.values(), 0.1).named()
    ours = join_families({gene: gene for gene in genes}, links)
    pairs = list(itertools.combinations(genes, 2))
    both = sum(ours[a] == ours[b] and joined[a] == joined[b] for a, b in pairs)
    theirs_alone = [(a, b) for a, b in pairs if ours[a] != ours[b] and joined[a] == joined[b]]
    ours_alone = [(a, b) for a, b in pairs if ours[a] == ours[b] and joined[a] != joined[b]]
    with capsys.disabled():
        print(
            f"\n{len(genes)} genes, {len(proteins)} proteins: {both} pairs of genes are one family for both, "
            f"{len(theirs_alone)} for MMseqs2 alone, {len(ours_alone)} for us alone {ours_alone}"
        )
    assert len(genes) > 90
    assert both > 0
    assert not theirs_alone
    assert len(ours_alone) < 0.005 * len(pairs)


def test_families_are_those_of_mmseqs2(tmp_path: Path) -> None:
    """Families at 75 to 95 % identity, among unrelated proteins: what MMseqs2 joins is joined, nothing else is."""
    mmseqs = tool("mmseqs")
    rng = np.random.default_rng(8)
    items = []
    for family in range(120):
        ancestor = random_protein(rng, int(rng.integers(120, 500)))
        for member in range(int(rng.integers(1, 5))):
            copy = ancestor if member == 0 else mutated(rng, ancestor, float(rng.uniform(0.75, 0.95)))
            items.append(transcript(f"{family}.{member}", gene=f"f{family:03d}m{member}", protein=copy))
    of_peer = clusters(mmseqs, {item.gene_id: item.protein for item in items}, tmp_path)
    names = [item.gene_id for item in items]
    links = similar_proteins(items, 0.1).named()
    assert not [pair for pair in links if pair[0][:4] != pair[1][:4]], "unrelated proteins are linked"
    of_ours = join_families({name: name for name in names}, links)
    same = [(one, other) for one, other in itertools.combinations(names, 2) if of_peer[one] == of_peer[other]]
    assert len(same) > 150
    assert sum(of_ours[one] == of_ours[other] for one, other in same) / len(same) > 0.99
