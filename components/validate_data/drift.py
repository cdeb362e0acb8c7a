"""Drift of a dataset against the one before it: distances of distributions, and whether chance explains them.

Transcripts of a gene resemble each other, so chance is judged by numbers of genes, not of transcripts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from components.validate_data.table_frames import Dataset

if TYPE_CHECKING:
    import pandas as pd

# Over all statistics together (Bonferroni).
_ALPHA = 1e-3
_BINS = 10


def drift_frame(previous: Dataset, current: Dataset) -> pd.DataFrame:
    """One row per statistic: statistic, ks, psi, ks_beyond_chance, psi_beyond_chance, before, now.

    `ks`: largest distance of the two cumulative distributions, missing for classes. `psi`: population stability index
    over deciles of the previous dataset, or over classes. `…_beyond_chance`: the same, 0 where as many genes drawn from
    one population would give it. `before`, `now`: medians, or the share of the most frequent class before.
    """
    import pandas as pd

    genes = tuple(int(item.rows["gene_id"].nunique()) for item in (previous, current))
    rows = []
    for name, before, now in _statistics(previous, current):
        numeric = before.dtype.kind in "fiu"
        ks = ks_distance(before, now) if numeric else None
        psi, bins = stability_index(before, now)
        rows.append(
            {
                "statistic": name,
                "ks": ks,
                "psi": psi,
                "ks_p": np.nan if ks is None else _ks_chance(ks, genes),
                "psi_p": _psi_chance(psi, bins, genes),
                "before": float(np.median(before)) if numeric else _share_of_mode(before, before),
                "now": float(np.median(now)) if numeric else _share_of_mode(before, now),
            }
        )
    frame = pd.DataFrame(rows)
    for kind in ("ks", "psi"):
        beyond = frame[f"{kind}_p"] < _ALPHA / len(frame)
        frame[f"{kind}_beyond_chance"] = frame[kind].where(beyond | frame[kind].isna(), 0.0)
    return frame


def continuity_frame(previous: Dataset, current: Dataset) -> pd.DataFrame:
    """One row: same_tissues, shared_share (of the previous transcripts that are here), moved_share (of the previous
    test transcripts that are now in another split)."""
    import pandas as pd

    before = previous.rows.set_index("transcript_id")["split"]
    now = current.rows.set_index("transcript_id")["split"]
    held_out = now.reindex(before.index[before == "test"])
    moved = held_out.notna() & (held_out != "test")
    return pd.DataFrame(
        {
            "name": ["dataset"],
            "same_tissues": [previous.tissues == current.tissues],
            "shared_share": [float(before.index.isin(now.index).mean())],
            "moved_share": [float(moved.mean()) if len(moved) else 0.0],
            "first": [", ".join(held_out.index[moved][:5])],
        }
    )


def ks_distance(before: np.ndarray, now: np.ndarray) -> float:
    """The two-sample Kolmogorov-Smirnov statistic."""
    from scipy.stats import ks_2samp

    return float(ks_2samp(before, now, method="asymp").statistic)


def stability_index(before: np.ndarray, now: np.ndarray) -> tuple[float, int]:
    """Population stability index, Σ (q − p) ln(q / p) over bins, and the number of bins.

    Bins are deciles of `before` (equal ones are one bin), or classes; half a count is added to each.
    """
    if before.dtype.kind in "fiu":
        edges = np.unique(np.quantile(before, np.arange(1, _BINS) / _BINS))
        counts = [np.bincount(np.searchsorted(edges, item), minlength=len(edges) + 1) for item in (before, now)]
    else:
        classes, index = np.unique(np.concatenate([before, now]), return_inverse=True)
        counts = [np.bincount(item, minlength=len(classes)) for item in (index[: len(before)], index[len(before) :])]
    p, q = ((item + 0.5) / (item + 0.5).sum() for item in counts)
    return float(((q - p) * np.log(q / p)).sum()), len(p)


def _statistics(previous: Dataset, current: Dataset) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """What is compared: lengths, composition, structure, classes, and the labels of each tissue."""
    rows = previous.rows, current.rows
    for name, column in (("RNA length", "rna_bp"), ("exons", "exons"), ("GC content of RNA", "gc_share")):
        yield name, *(item[column].to_numpy() for item in rows)  # type: ignore[misc]
    coding = [item[item["cds_start"] >= 0] for item in rows]
    if all(len(item) for item in coding):
        yield "5′ UTR length", *(item["cds_start"].to_numpy() for item in coding)  # type: ignore[misc]
        yield "CDS length", *((item["cds_end"] - item["cds_start"]).to_numpy() for item in coding)  # type: ignore[misc]
        yield "3′ UTR length", *((item["rna_bp"] - item["cds_end"]).to_numpy() for item in coding)  # type: ignore[misc]
    yield "isoforms per gene", *(item["gene_id"].value_counts().to_numpy() for item in rows)  # type: ignore[misc]
    for name in ("contig", "strand", "gene_type", "coding_status", "split"):
        yield name.replace("_", " "), *(item[name].to_numpy(str) for item in rows)  # type: ignore[misc]
    before = {tissue: index for index, tissue in enumerate(previous.tissues)}
    for index, tissue in enumerate(current.tissues):
        if tissue in before:
            yield f"expression, {tissue}", previous.labels[:, before[tissue]], current.labels[:, index]


def _ks_chance(distance: float, genes: Sequence[int]) -> float:
    from scipy.stats import kstwobign

    return float(kstwobign.sf(distance * np.sqrt(_effective(genes))))


def _psi_chance(index: float, bins: int, genes: Sequence[int]) -> float:
    """The index times the effective number is about chi-squared with one degree less than bins."""
    from scipy.stats import chi2

    return float(chi2.sf(index * _effective(genes), bins - 1)) if bins > 1 else 1.0


def _effective(genes: Sequence[int]) -> float:
    first, second = genes
    return first * second / max(first + second, 1)


def _share_of_mode(before: np.ndarray, values: np.ndarray) -> float:
    classes, counts = np.unique(before, return_counts=True)
    return float((values == classes[counts.argmax()]).mean())
