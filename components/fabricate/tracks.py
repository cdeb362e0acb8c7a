"""Tracks along a fabricated genome: where each promoter element stands, as an assay of its factor would show."""

from __future__ import annotations

from pathlib import Path

# Base pairs that a peak reaches beyond its element on either side.
FLANK_BP = 8


def write_tracks(truth_motifs: Path, out: Path) -> list[Path]:
    """Write one BED file per promoter element below `out`, from truth_motifs.tsv of a fabricated data set.

    A factor binds its element wherever it stands: decoys, which have no effect on expression, have peaks too.
    Returns the files' paths, by name of the element.
    """
    header, *rows = truth_motifs.read_text(encoding="ascii").splitlines()
    columns = header.split("\t")
    peaks: dict[str, list[str]] = {}
    for row in rows:
        entry = dict(zip(columns, row.split("\t"), strict=True))
        if entry["modality"] == "dna":
            start, end = max(0, int(entry["start"]) - FLANK_BP), int(entry["end"]) + FLANK_BP
            peaks.setdefault(entry["element"], []).append(f"{entry['contig']}\t{start}\t{end}")
    out.mkdir(parents=True, exist_ok=True)
    for element, lines in peaks.items():
        (out / f"{element}.bed").write_text("\n".join(lines) + "\n", encoding="ascii")
    return [out / f"{element}.bed" for element in sorted(peaks)]
