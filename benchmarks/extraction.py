"""Claim: from a gzipped genome and annotation to RNA, CDS and protein FASTA in at most gffread's wall time and 4 GB,
with the same sequences.

    python -m benchmarks.extraction [--transcripts 25000 252000] [--times 3] [--folder DIR]

Both sides start from the same gzipped files and may use all cores. gffread cannot read gzip: the genome goes through
zcat into a file, the annotation through zcat into its standard input, at the same time as it parses. Sequences are
FABRICATED, in genes like those of GENCODE, whose size is 252,000 transcripts.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.genome_scale import RawFiles, fabricate
from benchmarks.measuring import best_in_turn

_LIMIT_RATIO, _LIMIT_MB = 1.0, 4_000
_OURS = (
    "import sys; from pathlib import Path; from components.extract_sequences.raw_fasta import fasta_of_raw; "
    "fasta_of_raw(*map(Path, sys.argv[1:4]))"
)


def gffread_command(raw: RawFiles, out: Path) -> list[str]:
    """What a user of gffread would type, with decompression and parsing side by side."""
    genome, annotation = shlex.quote(str(raw.genome)), shlex.quote(str(raw.annotation))
    folder = shlex.quote(str(out))
    line = (
        f"set -o pipefail; rm -rf {folder}; mkdir -p {folder}; cd {folder}; zcat {genome} > genome.fa; "
        f"zcat {annotation} | gffread - -g genome.fa -w rna.fa -x cds.fa -y protein.fa"
    )
    return ["bash", "-c", line]


def our_command(raw: RawFiles, out: Path) -> list[str]:
    """The same through `isoformer export-fasta --genome … --annotation …`, without the command line's start."""
    line = f"rm -rf {shlex.quote(str(out))}; exec " + shlex.join(
        [sys.executable, "-c", _OURS, str(raw.genome), str(raw.annotation), str(out)]
    )
    return ["bash", "-c", line]


def sequences(path: Path) -> Iterator[tuple[str, str]]:
    """Records of a FASTA: first word of the header, letters in upper case."""
    name, lines = "", list[str]()
    with path.open() as handle:
        for line in handle:
            if line.startswith(">"):
                if name:
                    yield name, "".join(lines).upper()
                name, lines = line[1:].split(None, 1)[0], []
            else:
                lines.append(line.rstrip())
    yield name, "".join(lines).upper()


def differences(ours: Path, peer: Path) -> dict[str, int]:
    """Records by file that are not the same; gffread keeps the stop codon in a CDS and writes stops as dots."""
    counts = {}
    for name in ("rna.fa", "cds.fa", "protein.fa"):
        here, there = dict(sequences(ours / name)), dict(sequences(peer / name))
        if name == "cds.fa":
            there = {key: text if here.get(key) == text else text[:-3] for key, text in there.items()}
        if name == "protein.fa":
            there = {key: text.replace(".", "*").rstrip("*") for key, text in there.items()}
        counts[name] = sum(here.get(key) != there.get(key) for key in here.keys() | there.keys())
    return counts


def compare(raw: RawFiles, folder: Path, times: int) -> bool:
    """Print both sides at one size; returns whether the claim holds there."""
    ours, peer = best_in_turn(times, our_command(raw, folder / "ours"), gffread_command(raw, folder / "peer"))
    different = differences(folder / "ours", folder / "peer")
    ratio = ours.wall_s / peer.wall_s
    print(f"{raw.title} compressed")
    print(f"  ours            {ours}")
    print(f"  gffread 0.12.7  {peer}")
    print(f"  wall ratio {ratio:.2f} (limit {_LIMIT_RATIO}), memory limit {_LIMIT_MB:,} MB, different: {different}")
    return ratio <= _LIMIT_RATIO and ours.peak_mb <= _LIMIT_MB and not any(different.values())


def main() -> None:
    """Compare at each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transcripts", type=int, nargs="+", default=[12_000, 50_000])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keeps the fabricated files for other runs")
    arguments = parser.parse_args()
    if shutil.which("gffread") is None:
        raise SystemExit("gffread is not installed (Debian package gffread)")
    print("FABRICATED genomes. The quickest of several runs; memory is the sum over all processes of a side.")
    holds = True
    with tempfile.TemporaryDirectory(prefix="isoformer-extraction-") as temporary:
        for transcripts in arguments.transcripts:
            raw = fabricate((arguments.folder or Path(temporary)).absolute(), transcripts)
            holds &= compare(raw, Path(temporary), arguments.times)
    print(f"the claim {'holds' if holds else 'DOES NOT HOLD'}")


if __name__ == "__main__":
    main()
